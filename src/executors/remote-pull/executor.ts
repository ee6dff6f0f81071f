import type { ExecutorContext } from '@nx/devkit';
import { chosenRun } from '../../run/find-run';
import { pullRun } from '../../run/pull';
import { openRuns } from '../../run/session';
import { runTarget } from '../run-target';
import type { RemotePullExecutorSchema } from './schema';

/** Brings artifacts and checkpoints of any run from the store, verified; what is here already is not fetched again. */
export default function remotePull(
  options: RemotePullExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-pull', { ...options }, context, false, async (target) => {
    const { configuration, reporter, project, signal } = target;
    target.onInterrupt(() => 'Interrupted; the same command goes on where this one was.');
    const session = openRuns(configuration, project, context.root, reporter);
    try {
      const { record } = await chosenRun(session, options.run);
      const pulled = await pullRun(session, record, options, signal);
      return { run: record.id, ...pulled };
    } finally {
      session.close();
    }
  });
}
