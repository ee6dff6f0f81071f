import { pause } from '../../command/run-command';
import { findFleet } from '../../instance/find-fleet';
import { lastOf, sameTraining, type LastRun } from '../find-run';
import { isAwaited } from '../interruption';
import type { Launched } from '../launch';
import type { RunsSession } from '../session';
import { isOver } from './await-attempt';

/** A run that was named so long ago has a fleet that is told of, or its client was killed, ms. */
const BEGINNING = 20_000;
/** Between two looks, ms. */
const LOOK = 1_000;

/** A run whose fleet was not seen to begin it. */
export interface Begun {
  id: string;
  /** null: there is its template alone. */
  fleet: string | null;
}

/**
 * The last run of a training. One that was named just now, and of which nothing is there yet, is another client's that
 * is at it: what comes of it is waited for.
 */
export async function lastWhenSettled(session: RunsSession, key: string, signal: AbortSignal): Promise<LastRun> {
  for (let said = false; ; said = true) {
    const last = await lastOf(session, key);
    if (last.run === null || last.record || last.age > BEGINNING) return last;
    const { fleets, template } = await findFleet(session.aws, last.run, signal);
    if (fleets.length || template) return last;
    if (!said) session.reporter.line(`${last.run} of this training was begun just now: its fleet is waited for.`);
    await pause(LOOK, signal);
  }
}

/** A run of this training that needs no other, or that has what a fleet is made of; null where there is none. */
export async function whatThereIs(
  session: RunsSession,
  key: string,
  last: LastRun,
): Promise<Pick<Launched, 'run' | 'attached'> | Begun | null> {
  const { found } = await sameTraining(session, key);
  if (found && !isAwaited(found.record)) return { run: found.record, attached: found.attached };
  if (last.run === null || (last.record && isOver(last.record))) return null;
  const { fleets, template } = await findFleet(session.aws, last.run);
  if (fleets.length && last.record) return { run: last.record, attached: 'running' };
  // A template without a fleet is of one that was killed between the two.
  return fleets.length || (template && !last.record) ? { id: last.run, fleet: fleets[0] ?? null } : null;
}
