import type { RunFacts } from '../../command/plan';
import { Problem } from '../../report/problem';
import { formatDuration } from '../../report/units';
import { endedToGrow, interruptedInstance, isResumable } from '../record/interruption';
import { changedSince } from '../record/cancel-interrupted';
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
  /** Sees to it, while an attempt trains on fewer nodes than it may have, that the next one has more. */
  grow?(run: RunFacts, signal: AbortSignal): Promise<void>;
  /** Sees to it, while a run waits on an instance, that it has the next attempt on another one as soon as that has room. */
  move?(run: RunFacts, signal: AbortSignal, onMoved: (run: RunFacts) => void): Promise<void>;
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
    const ended = await followAttempt(context, started, { signal, recovery, onNextAttempt });
    if (!recovery || !isResumable(ended)) return ended;
    const { printer } = context;
    const now = await changedSince(context, ended);
    if (now?.attempt === ended.attempt) return now;
    if (now) {
      started = resumedElsewhere(context, now);
      continue;
    }
    const since = steadyNow();
    const at = new Date(ended.endedAt ?? since).toTimeString().slice(0, 8);
    const grows = endedToGrow(ended);
    const what = grows
      ? `attempt ${ended.attempt} has ended for one on more nodes`
      : `the spot instance ${interruptedInstance(ended)} was taken away${ended.outcome === 'lost' ? ' without notice' : ''}`;
    printer.line(
      `${at}: ${what}; ${describeSaved(ended)}. Resuming ${ended.id}${grows || ended.nodes.length > 1 ? '' : ' on another instance'}.`,
    );
    try {
      started = await recovery.continueRun(ended, {
        id: ended.id,
        attempt: ended.attempt + 1,
        heartbeat: ended.heartbeat,
      });
    } catch (error) {
      if (signal.aborted) throw error;
      const other = await changedSince(context, ended).catch(() => null);
      if (!other) throw withRetryHint(error, ended.id);
      if (other.attempt === ended.attempt) return other;
      started = resumedElsewhere(context, other);
      continue;
    }
    onNextAttempt?.(started.run);
    printer.line(
      `Attempt ${started.run.attempt} of ${ended.id} on ${started.run.instance}${describeOthers(started.run)}, ${formatDuration(steadyNow() - since)} later`,
    );
  }
}

/** Resumes a run; where that fails because another command, which may have been killed, has resumed it, follows that attempt. */
export async function resumeOrFollow(
  context: RunContext,
  gone: RunRecord,
  signal: AbortSignal,
  resume: () => Promise<StartedRun>,
): Promise<StartedRun> {
  try {
    return await resume();
  } catch (error) {
    const other = signal.aborted ? null : await changedSince(context, gone).catch(() => null);
    if (!other || other.attempt === gone.attempt) throw error;
    return resumedElsewhere(context, other);
  }
}

/** An attempt that another command has begun. */
function resumedElsewhere({ printer }: RunContext, run: RunRecord): StartedRun {
  printer.line(`Another command has resumed ${run.id}: attempt ${run.attempt}, on ${run.instance}.`);
  return { run, attached: 'running', settled: Promise.resolve() };
}

/** Follows one attempt to its end, and has nodes added to it meanwhile, or has it moved while it waits. */
async function followAttempt(
  context: RunContext,
  { run, log, formSince, settled }: StartedRun,
  { signal, recovery, onNextAttempt = () => undefined }: RecoveryOptions,
): Promise<RunRecord> {
  const end = new AbortController();
  const during = AbortSignal.any([signal, end.signal]);
  const beside = (doing: Promise<void> | undefined, failure: string) =>
    doing?.catch((error: Error) => {
      if (!during.aborted) context.printer.warn(`${run.id} ${failure}: ${error.message}`);
    });
  const growing = beside(recovery?.grow?.(run, during), `gets no more nodes in attempt ${run.attempt}`);
  const moving = beside(recovery?.move?.(run, during, onNextAttempt), 'does not move to another member of the pool');
  try {
    const followed = streamRunLog(context, run, { signal, first: log, formSince, from: run.takenOver?.log });
    const [ended] = await Promise.all([followed, settled]);
    return ended;
  } finally {
    end.abort();
    await Promise.all([growing, moving]);
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
