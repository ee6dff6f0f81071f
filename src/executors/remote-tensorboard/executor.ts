import type { ExecutorContext } from '@nx/devkit';
import { tensorboard, TOOL_PORTS } from '../../run/ports/tools';
import type { ExecutorOptions } from '../../config/schema/executor-options';
import { runTool } from '../lib/tool-target';

/** TensorBoard over the event files of a run, on its instance, in the browser of this machine. */
export default function remoteTensorboard(
  given: ExecutorOptions<'remote-tensorboard'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTool('remote-tensorboard', given, context, ({ logdir }) => ({
    tool: tensorboard(logdir),
    port: TOOL_PORTS.tensorboard,
    path: () => '/',
  }));
}
