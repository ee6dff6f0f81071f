import type { RunFacts } from '../command/plan';
import { askToStop } from '../run/cancel';
import { nameOf } from '../run/status';
import type { RunsSession } from '../run/session';
import { commandOf } from '../workspace/invocation';
import { printable } from '../report/terminal-text';
import type { Target } from './run-target';

/**
 * From now on a signal leaves a run that goes on, and says how to come back; a second one, or "onCancel", stops it.
 * @param own whether the caller has started it: a colleague's is only left.
 */
export function leaveRunning(target: Target, session: RunsSession, run: RunFacts, own: boolean): void {
  const { context, configuration } = target;
  const { grace, onCancel } = configuration.train;
  target.onInterrupt(
    () =>
      `Detached: ${run.id} goes on on ${run.instance}.\n` +
      `  come back:  the same command, or ${commandOf(context, 'remote-logs')} --run=${run.id}\n` +
      `  stop it:    ${commandOf(context, 'remote-cancel')} --run=${run.id}` +
      (own ? '' : ` --force (it is ${printable(nameOf(run.caller))}'s)`),
    own
      ? {
          atOnce: onCancel === 'stop',
          say: `${run.id} is asked to stop.`,
          stop: () => askToStop(session, run, grace),
        }
      : undefined,
  );
}
