import { parseJson } from '../system/bounded';
import { StoreTooLarge, type Store, type StoredVersion } from './store';

const DAY = 24 * 3_600_000;
/** What is read of the store is believed so long, ms: which packs are there, and which records lead to a head. */
export const BELIEVED = 7 * DAY;
/** What is younger, ms, is never condemned, needed or not: whoever wrote it may be about to name it. */
export const YOUNG = 7 * DAY;
/** What is condemned is removed after so long, ms, at the earliest: when nobody believes in it, and a day for what was begun on the last one. */
export const GRACE = BELIEVED + DAY;

/** The list's most bytes: some hundred thousand names. */
const MAX_LIST = 64 * 1024 * 1024;

/** What nothing needs and is to be removed: docs/FORMAT.md, "Garbage". */
export interface Condemned {
  /** Of the object; null where there is none. */
  etag: string | null;
  /**
   * Names below `v1/`, and since when nobody can learn of them any more, ms since the epoch by S3's clock; null: an
   * index may still name the pack.
   */
  since: Map<string, number | null>;
  /** What is there is no such list: anything may have been on it. */
  damaged?: true;
}

export class NewerCondemned extends Error {}

/**
 * @param strict as of `Store.getVersion`.
 * @throws NewerCondemned for a list of a later version.
 */
export async function readCondemned(store: Store, key: string, strict = false): Promise<Condemned> {
  let stored: StoredVersion | null;
  try {
    stored = await store.getVersion(key, MAX_LIST, { strict });
  } catch (error) {
    if (error instanceof StoreTooLarge) return { etag: error.etag, since: new Map(), damaged: true };
    throw error;
  }
  if (!stored) return { etag: null, since: new Map() };
  const { etag } = stored;
  let list: { v?: number; condemned?: Record<string, number | null> };
  try {
    list = parseJson(stored.bytes) as typeof list;
  } catch {
    return { etag, since: new Map(), damaged: true };
  }
  if (typeof list?.v === 'number' && list.v > 1) throw new NewerCondemned(`a list of version ${list.v}`);
  const entries = Object.entries(list?.condemned ?? {});
  const valid = list?.v === 1 && entries.every(([, time]) => time === null || Number.isFinite(time));
  return valid ? { etag, since: new Map(entries) } : { etag, since: new Map(), damaged: true };
}

/** @param by which `prune` writes it: no two lists are the same bytes. */
export function formatCondemned(since: Condemned['since'], by: string): Buffer {
  return Buffer.from(JSON.stringify({ v: 1, by, condemned: Object.fromEntries([...since].sort()) }));
}
