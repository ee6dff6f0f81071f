import { findFleet, ownFleets } from '../../instance/find-fleet';
import { checkFleet, deleteFleet, terminateLeft } from '../../instance/stop/delete-fleet';
import { Problem } from '../../report/problem';
import { runClaim } from '../claim';
import { goesOn, type FoundRun } from '../find-run';
import { isRunId, type RunRecord } from '../record';
import type { RunsSession } from '../session';
import { signStop } from '../signed-record';
import { isOver } from './await-attempt';

/**
 * Cancels a run that is between two instances of its fleet, or was not begun by any: `stop` is written, so that an
 * instance which comes all the same does not go on with it, and its fleet is deleted.
 * @param force also one that was launched for a colleague.
 * @returns false where the run has no fleet. @throws Problem where what has its tag is not this project's; nothing is changed then.
 */
export async function cancelBetween(session: RunsSession, run: string, force: boolean): Promise<boolean> {
  const { aws, store, keys, reporter } = session;
  // A tag's text may name it, and becomes part of a key.
  if (!isRunId(run)) return false;
  const claim = await runClaim(session, run, force ? ['owner'] : []);
  if (!(await checkFleet(aws, claim))) return false;
  const [signer] = (await store.recordKeys.forVerification({ keys, run })).keys;
  // Unsigned, an instance would not obey it: then the fleet alone is deleted.
  if (signer) await store.put(`${keys.run(run)}stop`, signStop(signer.key, run), { contentType: 'application/json' });
  await deleteFleet(aws, claim);
  await terminateLeft(aws, claim, reporter);
  return true;
}

/**
 * Cancels a run that no instance has begun.
 * @param force also one that was begun for somebody else. @returns false where it has no fleet.
 */
export async function cancelUnbegun(session: RunsSession, run: string, force: boolean): Promise<boolean> {
  if (!force && !(await ownFleets(session.aws, await session.owner())).includes(run)) {
    const { fleets, template } = await findFleet(session.aws, run);
    if (!fleets.length && !template) return false;
    throw new Problem('NOT_YOURS', `The fleet of ${run} was made for somebody else.`, {
      next: 'Delete it all the same with --force.',
    });
  }
  return cancelBetween(session, run, force);
}

/**
 * Cancels a run of which no instance can be told: it is between two of its fleet's.
 * @returns its record, as it reads now that nobody is left to write it; null where the run is to be told itself.
 */
export async function cancelWithFleet(
  session: RunsSession,
  found: FoundRun,
  force: boolean,
): Promise<RunRecord | null> {
  const { record } = found;
  if (record.description.recovery !== 'fleet' || isOver(record)) return null;
  if (goesOn(found)) {
    try {
      await session.at(record.instance).stillThere();
      return null;
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'INSTANCE_GONE') throw error;
    }
  }
  if (!(await cancelBetween(session, record.id, force))) return null;
  return { ...record, state: 'ended', outcome: 'cancelled', stop: { reason: 'cancelled', at: Date.now() } };
}
