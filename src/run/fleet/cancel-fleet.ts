import { deleteFleet, endInstances, findFleet, instancesOf } from '../../instance/fleet';
import type { RunRecord } from '../record';
import type { RunsSession } from '../session';

/**
 * Cancels a run that is between two instances of its fleet, or was not begun by any: `stop` is written, so that an
 * instance which comes all the same does not go on with it, and its fleet is deleted.
 * @returns false where the run has no fleet.
 */
export async function cancelBetween({ aws, store, keys }: RunsSession, run: string): Promise<boolean> {
  const { fleets, template } = await findFleet(aws, run);
  if (!fleets.length && !template) return false;
  const stop = Buffer.from(JSON.stringify({ v: 1, at: Date.now() }));
  await store.put(`${keys.run(run)}stop`, stop, { contentType: 'application/json' });
  await deleteFleet(aws, run);
  const left = await instancesOf(aws, run);
  if (left.length) await endInstances(aws, left);
  return true;
}

/** A record as it reads after that: nobody is left to write it. */
export function cancelled(record: RunRecord): RunRecord {
  return { ...record, state: 'ended', outcome: 'cancelled', stop: { reason: 'cancelled', at: Date.now() } };
}
