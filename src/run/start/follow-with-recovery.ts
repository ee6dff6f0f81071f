import type { RunFacts } from '../../command/plan';
import { Problem } from '../../report/problem';
import { formatDuration } from '../../report/units';
import { interruptedInstance, isResumable } from '../record/interruption';
import type { StartedRun } from './start-run';
import type { RunRecord } from '../record/record';
import type { NextAttempt } from './plan-run';
import { steadyNow } from '../../system/moment';
import type { RunContext } from '../../context/types';
import { describeOthers } from './describe-start';
import { streamRunLog } from '../follow/show-run';

export interface Recovery {
  /** Sees to it that the instance of a run is gone, that there is another, and starts the next attempt there. */
  continueRun(gone: RunRecord, next: NextAttempt): Promise<StartedRun>;
}

export interface RecoveryOptions {
  signal: AbortSignal;
  /** null: a run that is interrupted has ended. */
  recovery: Recovery | null;
  /** Another attempt has started, on another instance. */
  onNextAttempt?: (run: RunFacts) => void;
}

/**
 * Follows a run to its end as `streamRunLog` does, on one instance after the other if they are interrupted.
 * @throws Problem of `continueRun`, with how the run can be resumed later.
 */
export async function followWithRecovery(
  context: RunContext,
  started: StartedRun,
  { signal, recovery, onNextAttempt }: RecoveryOptions,
): Promise<RunRecord> {
  for (;;) {
    const { run, log, formSince, settled } = started;
    const [ended] = await Promise.all([
      streamRunLog(context, run, { signal, first: log, formSince, from: run.takenOver?.log }),
      settled,
    ]);
    if (!recovery || !isResumable(ended)) return ended;
    const since = steadyNow();
    const { printer } = context;
    const at = new Date(ended.endedAt ?? since).toTimeString().slice(0, 8);
    printer.line(
      `${at}: the spot instance ${interruptedInstance(ended)} was taken away${ended.outcome === 'lost' ? ' without notice' : ''}; ` +
        `${describeSaved(ended)}. Resuming ${ended.id}${ended.nodes.length > 1 ? '' : ' on another instance'}.`,
    );
    try {
      started = await recovery.continueRun(ended, {
        id: ended.id,
        attempt: ended.attempt + 1,
        heartbeat: ended.heartbeat,
      });
    } catch (error) {
      throw signal.aborted ? error : withRetryHint(error, ended.id);
    }
    onNextAttempt?.(started.run);
    printer.line(
      `Attempt ${started.run.attempt} of ${ended.id} on ${started.run.instance}${describeOthers(started.run)}, ${formatDuration(steadyNow() - since)} later`,
    );
  }
}

function describeSaved({ checkpoints, endedAt }: RunRecord): string {
  const last = checkpoints.at(-1);
  if (!last) return 'no checkpoint was saved, so the training starts from the beginning';
  const ago = endedAt === null ? '' : `, saved ${formatDuration(Math.max(0, endedAt - last.at))} before`;
  return `its last checkpoint is ${JSON.stringify(last.unit)}${ago}`;
}

function withRetryHint(error: unknown, run: string): unknown {
  if (!(error instanceof Problem)) return error;
  const { code, what, aws, next, cause } = error;
  const more = `The store has everything that ${run} saved. Run the same command to resume it.`;
  return new Problem(code, what, { aws, next: next ? `${next}\n${more}` : more, cause });
}
