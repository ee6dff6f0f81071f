import type { RunFacts } from '../command/plan';
import { pause } from '../command/run-command';
import { Problem } from '../report/problem';
import { formatDuration } from '../report/units';
import { canGoOn } from './interruption';
import type { Launched } from './launch';
import { readRecord, type RunRecord } from './record';
import type { RunsSession } from './session';
import { showRun, type NextAttempt } from './training';
import { steadyNow } from '../system/moment';

/** An instance goes on with a run that did not end only when the store was not told of it for so long, ms by S3's clock. */
export const SILENCE = 60_000;
/** How often it is looked whether it was, ms. */
const LOOK = 1_000;

export interface Recovery {
  /** Sees to it that the instance of a run is gone, that there is another, and starts the next attempt there. */
  goOn(gone: RunRecord, next: NextAttempt): Promise<Launched>;
}

export interface ThroughWishes {
  signal: AbortSignal;
  /** null: a run that is interrupted has ended. */
  recovery: Recovery | null;
  /** Another attempt has begun, on another instance. */
  onAgain?: (run: RunFacts) => void;
}

/**
 * Follows a run to its end as `showRun` does, over as many instances as are taken away from it meanwhile.
 * @throws Problem of `goOn`, with how it can be gone on with later.
 */
export async function showThrough(
  session: RunsSession,
  launched: Launched,
  { signal, recovery, onAgain }: ThroughWishes,
): Promise<RunRecord> {
  for (;;) {
    const { run, log, formSince, settled } = launched;
    const [ended] = await Promise.all([
      showRun(session, run, { signal, first: log, formSince, from: run.resumed?.log }),
      settled,
    ]);
    if (!recovery || !canGoOn(ended)) return ended;
    const since = steadyNow();
    const { reporter } = session;
    const at = new Date(ended.endedAt ?? since).toTimeString().slice(0, 8);
    reporter.line(
      `${at}: the spot instance ${ended.instance} was taken away${ended.outcome === 'lost' ? ' without notice' : ''}; ` +
        `${describeSaved(ended)}. Going on with ${ended.id} on another.`,
    );
    try {
      launched = await recovery.goOn(ended, { id: ended.id, attempt: ended.attempt + 1, beat: ended.beat });
    } catch (error) {
      throw signal.aborted ? error : leftForLater(error, ended.id);
    }
    onAgain?.(launched.run);
    reporter.line(
      `Attempt ${launched.run.attempt} of ${ended.id} on ${launched.run.instance}, ${formatDuration(steadyNow() - since)} later`,
    );
  }
}

/** Waits until an instance may go on with a run: at once where its end was recorded. */
export async function untilSilent(session: RunsSession, run: string, signal?: AbortSignal): Promise<void> {
  for (;;) {
    const read = await readRecord(session.store, session.keys, run);
    if (!read || read.record.state === 'ended' || read.age >= SILENCE) return;
    await pause(LOOK, signal);
  }
}

function describeSaved({ checkpoints, endedAt }: RunRecord): string {
  const last = checkpoints.at(-1);
  if (!last) return 'no checkpoint was saved, so that it begins anew';
  const ago = endedAt === null ? '' : `, of ${formatDuration(Math.max(0, endedAt - last.at))} before`;
  return `its last checkpoint is ${JSON.stringify(last.unit)}${ago}`;
}

function leftForLater(error: unknown, run: string): unknown {
  if (!(error instanceof Problem)) return error;
  const { code, what, aws, next, cause } = error;
  const more = `What ${run} has saved is in the store: the same command goes on with it.`;
  return new Problem(code, what, { aws, next: next ? `${next}\n${more}` : more, cause });
}
