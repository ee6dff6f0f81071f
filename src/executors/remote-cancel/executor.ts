import type { ExecutorContext } from '@nx/devkit';
import { cancelRun } from '../../run/cancel';
import { describeOutcome } from '../../run/outcome';
import { openSession } from '../../run/session';
import { runTarget } from '../run-target';
import type { RemoteCancelExecutorSchema } from './schema';

/** Stops a run: SIGTERM to all its processes, a grace, SIGKILL; waits until it has ended. */
export default function remoteCancel(
  options: RemoteCancelExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-cancel', { ...options }, context, false, async (target) => {
    const { configuration, reporter, project, signal } = target;
    const session = await openSession(configuration, project, context.root, reporter);
    try {
      const { run, already } = await cancelRun(session, options.run ?? null, signal, (id) =>
        target.onInterrupt(() => `Left; ${id} is being stopped all the same.`),
      );
      reporter.line(
        already ? `${run.id} had ended already: ${describeOutcome(run)}` : `${run.id}: ${describeOutcome(run)}`,
      );
      return { run: run.id, instance: session.instance, outcome: run.outcome, already };
    } finally {
      session.close();
    }
  });
}
