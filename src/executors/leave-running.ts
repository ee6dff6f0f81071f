import type { RunFacts } from '../command/plan';
import { askToStop } from '../run/cancel';
import type { RunsSession } from '../run/session';
import { commandOf } from '../workspace/invocation';
import type { Target } from './run-target';

/** From now on a signal leaves a run that goes on, and says how to come back; a second one, or "onCancel", stops it. */
export function leaveRunning(target: Target, session: RunsSession, run: Pick<RunFacts, 'id' | 'instance'>): void {
  const { context, configuration } = target;
  const { grace, onCancel } = configuration.train;
  target.onInterrupt(
    () =>
      `Detached: ${run.id} goes on on ${run.instance}.\n` +
      `  come back:  the same command, or ${commandOf(context, 'remote-logs')} --run=${run.id}\n` +
      `  stop it:    ${commandOf(context, 'remote-cancel')} --run=${run.id}`,
    {
      atOnce: onCancel === 'stop',
      say: `${run.id} is asked to stop.`,
      stop: () => askToStop(session, run, grace),
    },
  );
}
