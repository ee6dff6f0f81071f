import type { ExecutorContext } from '@nx/devkit';
import { findPlace } from '../../run/ports/find-place';
import { parseLocalPort } from '../../run/ports/port-option';
import { jupyter, TOOL_PORTS } from '../../run/ports/tools';
import type { ExecutorOptions } from '../../config/schema/executor-options';
import { runTarget } from '../lib/run-target';
import { openTool } from '../lib/tool-target';

/** Jupyter in the environment of a run, on its instance, in the browser of this machine. */
export default function remoteJupyter(
  given: ExecutorOptions<'remote-jupyter'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-jupyter', given, context, false, async (target, options) => {
    const { configuration, printer, project } = target;
    parseLocalPort(options.port);
    target.answerSignal(() => 'Jupyter is ended.');
    const place = await findPlace(configuration, project, context.root, printer, options);
    try {
      const path = (token: string) => `/?token=${token}`;
      await openTool(target, options, place, { tool: jupyter(), port: TOOL_PORTS.jupyter, path });
      return {};
    } finally {
      place.context.close();
    }
  });
}
