import type { RunFacts } from '../../command/plan';
import { requestStop } from '../../run/stop/cancel';
import { callerName } from '../../run/status/status';
import { targetCommand } from '../../workspace/invocation';
import { sanitizeForTerminal } from '../../report/terminal-text';
import type { Target } from './run-target';
import type { RunContext } from '../../context/types';

/**
 * From now on a signal detaches from an active run, and says how to come back; a second one, or "onSignal": "stop", stops it.
 * @param own whether the caller has started it: a colleague's is only left.
 */
export function detachOnSignal(target: Target, runContext: RunContext, run: RunFacts, own: boolean): void {
  const { context, configuration } = target;
  const { gracePeriod, onSignal } = configuration.train;
  target.answerSignal(
    () =>
      `Detached: ${run.id} continues on ${run.instance}.\n` +
      `  come back:  the same command, or ${targetCommand(context, 'remote-logs')} --run=${run.id}\n` +
      `  stop it:    ${targetCommand(context, 'remote-cancel')} --run=${run.id}` +
      (own ? '' : ` --force (it belongs to ${sanitizeForTerminal(callerName(run.caller))})`),
    own
      ? {
          immediate: onSignal === 'stop',
          say: `${run.id} is asked to stop.`,
          stop: () => requestStop(runContext, run, gracePeriod),
        }
      : undefined,
  );
}
