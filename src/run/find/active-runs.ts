import type { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';
import { Problem } from '../../report/problem';
import { isUnreadable, listRuns, MAX_READ_RECORDS, readRecord, type ReadRecord } from '../record/record';
import { RecordUnverified } from '../record/signed-record';
import { HEARTBEAT_TIMEOUT_MS } from '../record/liveness';

/** Verified records that are looked at, the newest, and at once. */
const MAX_RECORDS = 64;
const CONCURRENCY = 8;

export interface RunsUnderWay {
  /** Of which no end is recorded. One that was not heard of for long may have ended all the same: its age tells. */
  runs: ReadRecord[];
  /** Written lately, with a record that names one of the instances and can't be verified. */
  unverified: { id: string; instance: string; why: string }[];
}

/**
 * The project's runs on these instances, among the newest 64. A record that can't be read is taken for absent and passed
 * over, up to 1,024 in all.
 */
export async function listActiveRuns(
  store: Store,
  keys: StoreKeys,
  instances: ReadonlySet<string>,
): Promise<RunsUnderWay> {
  const found: RunsUnderWay = { runs: [], unverified: [] };
  if (!instances.size) return found;
  const all = await listRuns(store, keys).catch(unlessTooMany);
  const ids = (all ?? []).slice(0, MAX_READ_RECORDS);
  let verified = 0;
  const look = async (id: string) => {
    try {
      const read = await readRecord(store, keys, id);
      if (read) verified++;
      if (read && read.record.state !== 'ended' && instances.has(read.record.instance)) found.runs.push(read);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      if (!(error instanceof RecordUnverified) || error.age >= HEARTBEAT_TIMEOUT_MS) return;
      const { instance, why } = error;
      if (instance !== null && instances.has(instance)) found.unverified.push({ id, instance, why });
    }
  };
  for (let from = 0; from < ids.length && verified < MAX_RECORDS; from += CONCURRENCY)
    await Promise.all(ids.slice(from, from + CONCURRENCY).map(look));
  return found;
}

/** Anybody who writes to the bucket can make up more runs than are listed: then the store tells nothing of them. */
function unlessTooMany(error: unknown): null {
  if (error instanceof Problem && error.code === 'STORE_TOO_MANY') return null;
  throw error;
}
