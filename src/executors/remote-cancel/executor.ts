import type { ExecutorContext } from '@nx/devkit';
import { cancelRun } from '../../run/cancel';
import { chosenRun } from '../../run/find-run';
import { cancelUnbegun, cancelWithFleet } from '../../run/fleet/cancel-fleet';
import { describeOutcome } from '../../run/outcome';
import { isRunId } from '../../run/record';
import { openRuns } from '../../run/session';
import { Problem } from '../../report/problem';
import { printable } from '../../report/terminal-text';
import { runTarget } from '../run-target';
import type { RemoteCancelExecutorSchema } from './schema';

/** Stops a run: SIGTERM to all its processes, a grace, SIGKILL; waits until it has ended. */
export default function remoteCancel(
  given: RemoteCancelExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-cancel', given, context, false, async (target, options) => {
    const { configuration, reporter, project, signal } = target;
    const session = openRuns(configuration, project, context.root, reporter);
    try {
      const found = await chosenRun(session, options.run).catch(async (error: unknown) => {
        if (!(error instanceof Problem) || error.code !== 'NO_RUN' || !isRunId(options.run ?? '')) throw error;
        if (!(await cancelUnbegun(session, options.run!, options.force ?? false))) throw error;
        return null;
      });
      if (!found) {
        reporter.line(`${options.run} had not begun: its fleet is deleted.`);
        return { run: options.run, instance: null, outcome: 'cancelled', already: false };
      }
      const { record } = found;
      if (record.caller !== (await session.caller()) && !options.force) {
        throw new Problem('NOT_YOURS', `${record.id} is a run of ${printable(record.caller)}.`, {
          next: 'Stop it all the same with --force.',
        });
      }
      target.onInterrupt(() => `Left; ${record.id} is being stopped all the same.`);
      const between = await cancelWithFleet(session, found, options.force ?? false);
      const { run, already } = between ? { run: between, already: false } : await cancelRun(session, record, signal);
      reporter.line(
        already ? `${run.id} had ended already: it ${describeOutcome(run)}` : `${run.id} ${describeOutcome(run)}`,
      );
      return { run: run.id, instance: run.instance, outcome: run.outcome, already };
    } finally {
      session.close();
    }
  });
}
