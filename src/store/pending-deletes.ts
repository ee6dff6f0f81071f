import { parseJson } from '../system/bounded';
import type { Store } from './store';
import type { StoredVersion } from './objects/types';
import { UnusableObject } from './objects/unusable';

const DAY_MS = 24 * 3_600_000;
/** What is read of the store is believed so long, ms: which packs are there, and which records lead to a head. */
export const INDEX_CACHE_TTL_MS = 7 * DAY_MS;
/** Objects younger than this, ms, are never marked for deletion, reachable or not: their writer may be about to name them. */
export const MIN_AGE_MS = 7 * DAY_MS;
/** The shortest time, ms, between marking and removal: every cached listing has expired, and a sync that began on the last one has a day more. */
export const DELETE_DELAY = INDEX_CACHE_TTL_MS + DAY_MS;

/** The list's most bytes: some hundred thousand names. */
const MAX_LIST_BYTES = 64 * 1024 * 1024;

/** The objects that are unreachable and will be removed: docs/reference/formats.md, "Garbage". */
export interface PendingDeletes {
  /** Of the object; null where there is none. */
  etag: string | null;
  /**
   * Names below the store's base, and since when nobody can learn of them any more, ms since the epoch by S3's clock; null: an
   * index may still name the pack.
   */
  since: Map<string, number | null>;
  /** What is there is no such list: anything may have been on it. */
  damaged?: true;
}

export class NewerPendingDeletes extends Error {}

/**
 * @param strict as of `Store.getWithETag`.
 * @throws NewerPendingDeletes for a list of a later version.
 */
export async function readPendingDeletes(store: Store, key: string, strict = false): Promise<PendingDeletes> {
  let stored: StoredVersion | null;
  try {
    stored = await store.getWithETag(key, MAX_LIST_BYTES, { strict });
  } catch (error) {
    if (error instanceof UnusableObject) return { etag: error.etag, since: new Map(), damaged: true };
    throw error;
  }
  if (!stored) return { etag: null, since: new Map() };
  const { etag } = stored;
  let list: { v?: number; pendingDeletes?: Record<string, number | null> };
  try {
    list = parseJson(stored.bytes) as typeof list;
  } catch {
    return { etag, since: new Map(), damaged: true };
  }
  if (typeof list?.v === 'number' && list.v > 1) throw new NewerPendingDeletes(`a list of version ${list.v}`);
  const entries = Object.entries(list?.pendingDeletes ?? {});
  const valid = list?.v === 1 && entries.every(([, time]) => time === null || Number.isFinite(time));
  return valid ? { etag, since: new Map(entries) } : { etag, since: new Map(), damaged: true };
}

/** @param by which `prune` writes it: no two lists are the same bytes. */
export function formatPendingDeletes(since: PendingDeletes['since'], by: string): Buffer {
  return Buffer.from(JSON.stringify({ v: 1, by, pendingDeletes: Object.fromEntries([...since].sort()) }));
}
