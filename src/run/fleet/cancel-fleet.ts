import { findFleet, instancesOf, listOwnedFleets } from '../../instance/fleet/find-fleet';
import { checkFleet, deleteFleet, terminateLeft } from '../../instance/stop/delete-fleet';
import { Problem } from '../../report/problem';
import { requiredRunTags } from '../../context/required-tags';
import { runsOn } from '../find/runs-on-instance';
import { isKnownActive, type FoundRun } from '../find/find-run';
import { isUnreadable, type RunRecord } from '../record/record';
import { signStop } from '../record/signed-record';
import { isFinal } from './wait-first-attempt';
import type { RunContext } from '../../context/types';
import { isRunId } from '../../schema/ids';

/**
 * Cancels a run that is between two instances of its fleet, or that no instance has started: `stop` is written, so that an
 * instance that starts all the same does not resume it, and its fleet is deleted.
 * @param force also one that was launched for a colleague.
 * @returns false where the run has no fleet. @throws Problem where what has its tag is not this project's; nothing is changed then.
 */
export async function cancelBetweenInstances(context: RunContext, run: string, force: boolean): Promise<boolean> {
  const { aws, store, keys, printer } = context;
  // A tag's text may name it, and becomes part of a key.
  if (!isRunId(run)) return false;
  const required = await requiredRunTags(context, run, force ? ['owner'] : []);
  const found = await checkFleet(aws, required);
  if (!found) return false;
  for (const { message } of found.refused) printer.warn(message);
  const [signer] = (await store.signingKeys.forVerification({ keys, run })).keys;
  // Unsigned, an instance would not obey it: then the fleet alone is deleted.
  if (signer) await store.put(`${keys.run(run)}stop`, signStop(signer.key, run), { contentType: 'application/json' });
  await deleteFleet(aws, required);
  await terminateLeft(aws, required, printer);
  return true;
}

/**
 * Cancels a run of which the store tells nothing and no instance can be asked: it has no record, or one that anybody may
 * have written and that no instance of the run is there to write over.
 * @param force also a run of another caller. @param error why it was not found. @returns false where it has
 * no fleet, or can be cancelled in another way.
 */
export async function cancelUntold(context: RunContext, run: string, force: boolean, error: unknown): Promise<boolean> {
  if (!isUnreadable(error) && !isAbsent(error)) return false;
  const instances = await instancesOf(context.aws, run);
  if (isUnreadable(error) ? instances.length : await isActiveOn(context, run, instances)) return false;
  if (!force && !(await listOwnedFleets(context.aws, await context.owner())).includes(run)) {
    const { fleets, template } = await findFleet(context.aws, run);
    if (!fleets.length && !template) return false;
    throw new Problem('NOT_OWNER', `The fleet of ${run} belongs to another user.`, {
      next: 'To delete it anyway, add --force.',
    });
  }
  return cancelBetweenInstances(context, run, force);
}

/**
 * Cancels a run of which no instance can be told: it is between two of its fleet's.
 * @returns its record, as it reads now that nobody is left to write it; null where the run is to be told itself.
 */
export async function cancelWithFleet(context: RunContext, found: FoundRun, force: boolean): Promise<RunRecord | null> {
  const { record } = found;
  if (record.metadata.recovery !== 'fleet' || isFinal(record)) return null;
  if (isKnownActive(found)) {
    try {
      await context.at(record.instance).assertInstanceExists();
      return null;
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'INSTANCE_GONE') throw error;
    }
  }
  if (!(await cancelBetweenInstances(context, record.id, force))) return null;
  return { ...record, state: 'ended', outcome: 'cancelled', stop: { reason: 'cancelled', at: Date.now() } };
}

/** Whether an instance says that the run is active there: its record may have been deleted. */
async function isActiveOn(session: RunContext, run: string, instances: string[]): Promise<boolean> {
  for (const instance of instances) {
    const runs = await runsOn(session, instance);
    if (runs !== 'silent' && runs.includes(run)) return true;
  }
  return false;
}

function isAbsent(error: unknown): boolean {
  return error instanceof Problem && error.code === 'NO_RUN';
}
