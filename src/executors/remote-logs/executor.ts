import type { ExecutorContext } from '@nx/devkit';
import { describeOutcome, refuseFailure } from '../../run/outcome';
import { openSession } from '../../run/session';
import { showRun } from '../../run/training';
import { runTarget } from '../run-target';
import type { RemoteLogsExecutorSchema } from './schema';

/** Shows a run's log from its start and follows it to its end; ends as the run ended. */
export default function remoteLogs(
  options: RemoteLogsExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-logs', { ...options }, context, false, async (target) => {
    const { configuration, reporter, project, signal } = target;
    target.onInterrupt(() => 'Left the log; the run is not touched.');
    const session = await openSession(configuration, project, context.root, reporter);
    try {
      const run = await showRun(session, options.run ?? null, signal);
      reporter.line(`${run.id}: the training ${describeOutcome(run)}`);
      refuseFailure(run);
      return { run: run.id, instance: session.instance, outcome: run.outcome, exitCode: run.exitCode };
    } finally {
      session.close();
    }
  });
}
