import { Problem } from '../../report/problem';
import type { Snapshot } from '../../snapshot/snapshot';
import type { StoreKeys } from '../../store/keys';
import type { StoredVersion } from '../../store/objects/types';
import { UnusableObject } from '../../store/objects/unusable';
import { readAgain } from '../../store/objects/read-again';
import type { Store } from '../../store/store';
import {
  applyManifests,
  MAX_HISTORY,
  MAX_MANIFEST_BYTES,
  NewerManifest,
  manifestNeeds,
  type ContentLocations,
} from './manifest';

/** A snapshot in the store, and where its contents are, as its manifests say. */
export interface StoredSnapshot extends ContentLocations {
  snapshot: Snapshot;
  /** The manifests that lead to it, the full one first, by the ids of their snapshots. */
  history: string[];
}

/**
 * Reads a snapshot by its id from the store, whoever synced it: its manifest, and those that it is based on.
 * @throws Problem `SNAPSHOT_GONE` if a manifest is missing, `SNAPSHOT_INVALID` if one is not valid.
 */
export function readSnapshot(store: Store, keys: StoreKeys, id: string): Promise<StoredSnapshot> {
  return readAgain('SNAPSHOT_INVALID', () => readOnce(store, keys, id));
}

async function readOnce(store: Store, keys: StoreKeys, id: string): Promise<StoredSnapshot> {
  const manifests: { id: string; bytes: Buffer }[] = [];
  for (let next: string | null = id; next !== null;) {
    if (manifests.length === MAX_HISTORY || manifests.some((each) => each.id === next))
      throw invalid(id, 'its manifests lead to no full one');
    const stored = await readManifest(store, keys.manifest(next), id);
    if (!stored) throw gone(id, keys.manifest(next));
    manifests.unshift({ id: next, bytes: stored.bytes });
    const { base } = read(id, () => manifestNeeds(stored.bytes));
    if (base !== null && !/^[0-9a-f]{64}$/.test(base)) throw invalid(id, 'its manifest is damaged');
    next = base;
  }
  return { ...read(id, () => applyManifests(manifests)), history: manifests.map((each) => each.id) };
}

async function readManifest(store: Store, key: string, id: string): Promise<StoredVersion | null> {
  try {
    return await store.getWithETag(key, MAX_MANIFEST_BYTES);
  } catch (error) {
    if (error instanceof UnusableObject) throw invalid(id, error.what, error);
    throw error;
  }
}

function read<T>(id: string, how: () => T): T {
  try {
    return how();
  } catch (error) {
    if (error instanceof NewerManifest)
      throw new Problem('SNAPSHOT_INVALID', `The store holds ${error.message} of the snapshot ${id}.`, {
        next: 'Update nx-ec2.',
      });
    throw invalid(id, (error as Error).message);
  }
}

function gone(id: string, key: string): Problem {
  return new Problem('SNAPSHOT_GONE', `The store has no manifest of the snapshot ${id} (${key}).`, {
    next: '"nx-ec2 store prune" removed it, or the sync could not write it.',
  });
}

function invalid(id: string, why: string, { aws, next }: Partial<UnusableObject> = {}): Problem {
  return new Problem(
    'SNAPSHOT_INVALID',
    `The manifest of the snapshot ${id} can't be used: ${why.replace(/\.$/, '')}.`,
    { aws, next: next ?? 'It is damaged, or another program is writing to this prefix.' },
  );
}
