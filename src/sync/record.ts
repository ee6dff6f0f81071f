import { hash } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import type { Chunk } from '../snapshot/chunk';
import { applyDelta, difference, type Delta } from '../snapshot/diff';
import { formatRecords, parseRecords, Snapshot } from '../snapshot/snapshot';
import { inflate, parseJson } from '../system/bounded';

/** What a record says of where contents are. */
export interface Whereabouts {
  recipes: Record<string, readonly Chunk[]>;
  packs: [sha256: string, size: number][];
  /** Contents that are in no pack, zlib, base64. */
  data: Record<string, string>;
}

/** A snapshot's record: docs/FORMAT.md, "Store". */
type SnapshotRecord = { v: 1; snapshot: string } & Whereabouts &
  ({ base: null; manifest: string } | { base: string; gone: string[]; records: string });

/** A record names each file of a workspace once: its most bytes as it is stored, and inflated. */
export const MAX_RECORD = 64 * 1024 * 1024;
export const MAX_INFLATED = 256 * 1024 * 1024;
/** Records that lead to a snapshot: one whole and at most so many that each change the one before. */
export const LONGEST_HISTORY = 16;

export function wholeRecord(snapshot: Snapshot, where: Whereabouts): Buffer {
  return format({ v: 1, snapshot: snapshot.id, base: null, manifest: snapshot.canonical.toString(), ...where });
}

export function changeRecord(
  base: Snapshot,
  snapshot: Snapshot,
  where: Whereabouts,
  { gone, changed }: Delta = difference(base, snapshot),
): Buffer {
  return format({ v: 1, snapshot: snapshot.id, base: base.id, gone, records: formatRecords(changed), ...where });
}

function format(record: SnapshotRecord): Buffer {
  return deflateSync(JSON.stringify(record));
}

/**
 * What a record needs besides itself: the record that it changes, and packs.
 * @throws Error for what is no record, `NewerRecord` for one of a later version.
 */
export function recordNeeds(bytes: Buffer): { base: string | null; packs: string[] } {
  const record = parseJson(inflate(bytes, MAX_INFLATED)) as SnapshotRecord;
  if ((record.v as number) > 1) throw new NewerRecord(`a record of version ${String(record.v)}`);
  return { base: record.base, packs: record.packs.map(([sha256]) => sha256) };
}

export class NewerRecord extends Error {}

/**
 * The snapshot that a history of records leads to, and where they say that contents are.
 * @throws Error where they are not what their ids say, `NewerRecord` for one of a later version.
 */
export function foldRecords(records: { id: string; bytes: Buffer }[]): { snapshot: Snapshot } & Whereabouts {
  let snapshot: Snapshot | undefined;
  const packs = new Map<string, number>();
  const recipes: Whereabouts['recipes'] = {};
  const data: Whereabouts['data'] = {};
  for (const { id, bytes } of records) {
    const record = parseJson(inflate(bytes, MAX_INFLATED)) as SnapshotRecord;
    if ((record.v as number) !== 1) throw new NewerRecord(`a record of version ${String(record.v)}`);
    if (record.base === null) {
      const canonical = Buffer.from(record.manifest);
      // Before it is parsed: a forged object of some 100 KB inflates to millions of entries.
      if (hash('sha256', canonical, 'hex') !== id) throw new Error('a record is not of its snapshot');
      snapshot = Snapshot.parse(canonical);
    } else if (snapshot?.id === record.base)
      snapshot = applyDelta(snapshot, { gone: record.gone, changed: parseRecords(record.records) });
    else throw new Error('a record changes another than the one before it');
    if (snapshot.id !== id) throw new Error('a record is not of its snapshot');
    for (const [sha256, size] of record.packs) packs.set(sha256, size);
    Object.assign(recipes, record.recipes);
    Object.assign(data, record.data);
  }
  if (!snapshot) throw new Error('there is no record');
  return { snapshot, packs: [...packs], recipes, data };
}
