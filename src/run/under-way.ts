import type { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import { STALE } from './follow';
import { isUnreadable, listRuns, readRecord, type ReadRecord } from './record';
import { RecordUnverified } from './signed-record';

/** Records that are looked at, the newest, and at once. */
const LOOKED_AT = 64;
const AT_ONCE = 8;

export interface RunsUnderWay {
  /** Of which no end is recorded. One that was not heard of for long may have ended all the same: its age tells. */
  runs: ReadRecord[];
  /** Written lately, with a record that names one of the instances and can't be verified. */
  unverified: { id: string; instance: string; why: string }[];
  /** Whether all runs were looked at, and each could be read: anybody who writes to the bucket can hide one otherwise. */
  isCertain: boolean;
}

/** The project's runs on these instances, among the newest 64. A record that can't be read is taken for absent. */
export async function runsUnderWay(
  store: Store,
  keys: StoreKeys,
  instances: ReadonlySet<string>,
): Promise<RunsUnderWay> {
  const found: RunsUnderWay = { runs: [], unverified: [], isCertain: true };
  if (!instances.size) return found;
  const all = await listRuns(store, keys);
  const ids = all.slice(0, LOOKED_AT);
  found.isCertain = ids.length === all.length;
  const look = async (id: string) => {
    try {
      const read = await readRecord(store, keys, id);
      if (read && read.record.state !== 'ended' && instances.has(read.record.instance)) found.runs.push(read);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      found.isCertain = false;
      if (!(error instanceof RecordUnverified) || error.age >= STALE) return;
      const { instance, why } = error;
      if (instance !== null && instances.has(instance)) found.unverified.push({ id, instance, why });
    }
  };
  for (let from = 0; from < ids.length; from += AT_ONCE) await Promise.all(ids.slice(from, from + AT_ONCE).map(look));
  return found;
}
