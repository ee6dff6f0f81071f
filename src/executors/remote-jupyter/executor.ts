import type { ExecutorContext } from '@nx/devkit';
import { jupyter, TOOL_PORTS } from '../../run/ports/tools';
import type { ExecutorOptions } from '../../config/schema/executor-options';
import { runTool } from '../lib/tool-target';

/** Jupyter in the environment of a run, on its instance, in the browser of this machine. */
export default function remoteJupyter(
  given: ExecutorOptions<'remote-jupyter'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTool('remote-jupyter', given, context, () => ({
    tool: jupyter(),
    port: TOOL_PORTS.jupyter,
    path: (token) => `/?token=${token}`,
  }));
}
