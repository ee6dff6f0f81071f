import type { ExecutorContext } from '@nx/devkit';
import { createInstanceContext } from '../../context/context';
import { Watch } from '../../watch/watch-loop';
import { openWorkspace } from '../../watch/watched-workspace';
import { runTarget } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';

/** Keeps the instance in step with the project and what it depends on, until it is interrupted. */
export default function remoteWatch(
  given: ExecutorOptions<'remote-watch'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-watch', given, context, false, async (target, options) => {
    const { configuration, printer, project, workspace, signal } = target;
    const instanceContext = await createInstanceContext(configuration, project, context.root, printer);
    try {
      const { events, rescan, close } = await openWorkspace(workspace);
      try {
        const watch = new Watch(instanceContext, workspace, { events, rescan, signal, force: options.force });
        target.answerSignal(() => watch.stats.summary());
        return await watch.run();
      } finally {
        await close();
      }
    } finally {
      instanceContext.close();
    }
  });
}
