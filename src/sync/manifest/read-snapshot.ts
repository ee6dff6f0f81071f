import { Problem } from '../../report/problem';
import type { Snapshot } from '../../snapshot/snapshot';
import type { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';
import {
  applyManifests,
  LONGEST_HISTORY,
  MAX_RECORD,
  NewerRecord,
  recordNeeds,
  type ContentLocations,
} from './manifest';

/** A snapshot that the store knows, with what its records say of where contents are. */
export interface StoredSnapshot extends ContentLocations {
  snapshot: Snapshot;
  /** The records that lead to it, the whole one first, by the ids of their snapshots. */
  history: string[];
}

/**
 * Reads a snapshot by its id from the store, whoever synced it: its record, and those that it changes.
 * @throws Problem `SNAPSHOT_GONE` where a record is not there, `SNAPSHOT_INVALID` where one is not what it should be.
 */
export async function readSnapshot(store: Store, keys: StoreKeys, id: string): Promise<StoredSnapshot> {
  const records: { id: string; bytes: Buffer }[] = [];
  for (let next: string | null = id; next !== null;) {
    if (records.length === LONGEST_HISTORY || records.some((each) => each.id === next))
      throw invalid(id, 'its records lead to no whole one');
    const stored = await store.getWithETag(keys.record(next), MAX_RECORD);
    if (!stored) throw gone(id, keys.record(next));
    records.unshift({ id: next, bytes: stored.bytes });
    const { base } = read(id, () => recordNeeds(stored.bytes));
    if (base !== null && !/^[0-9a-f]{64}$/.test(base)) throw invalid(id, 'its record is damaged');
    next = base;
  }
  return { ...read(id, () => applyManifests(records)), history: records.map((each) => each.id) };
}

function read<T>(id: string, how: () => T): T {
  try {
    return how();
  } catch (error) {
    if (error instanceof NewerRecord)
      throw new Problem('SNAPSHOT_INVALID', `The store holds ${error.message} of the snapshot ${id}.`, {
        next: 'Update nx-ec2.',
      });
    throw invalid(id, (error as Error).message);
  }
}

function gone(id: string, key: string): Problem {
  return new Problem('SNAPSHOT_GONE', `The store does not know the files of the snapshot ${id}: it has no ${key}.`, {
    next: 'Its record was removed by "nx-ec2 store prune", or the sync that was to write it could not.',
  });
}

function invalid(id: string, why: string): Problem {
  return new Problem('SNAPSHOT_INVALID', `The record of the snapshot ${id} can't be used: ${why}.`, {
    next: 'It was damaged, or another program is writing to this prefix.',
  });
}
