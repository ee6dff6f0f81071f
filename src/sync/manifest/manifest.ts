import { hash } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import type { ContentLocations, Manifest } from '../../schema/manifest';
import { applyDelta, difference, type Delta } from '../../snapshot/diff';
import { formatRecords, parseRecords, Snapshot } from '../../snapshot/snapshot';
import { inflate, inflateStart, parseJson } from '../../system/bounded';

export type { ContentLocations };

/** A record names each file of a workspace once: its most bytes as it is stored, and inflated. */
export const MAX_RECORD_BYTES = 64 * 1024 * 1024;
export const MAX_INFLATED_BYTES = 256 * 1024 * 1024;
/**
 * The most bytes of a change, inflated. It is known by its hash only when it was applied to what it changes: so it is
 * small, and a larger change is stored as a whole record.
 */
export const MAX_CHANGE_BYTES = 16 * 1024 * 1024;
/** Records that lead to a snapshot: one whole and at most so many that each change the one before. */
export const LONGEST_HISTORY = 16;

export function encodeFull(snapshot: Snapshot, where: ContentLocations): Buffer {
  return format({ v: 1, snapshot: snapshot.id, base: null, canonical: snapshot.canonical.toString(), ...where });
}

/** null: the change is too large for a record of its own. */
export function encodeDelta(
  base: Snapshot,
  snapshot: Snapshot,
  where: ContentLocations,
  { deleted: gone, changed }: Delta = difference(base, snapshot),
): Buffer | null {
  return format(
    { v: 1, snapshot: snapshot.id, base: base.id, deleted: gone, entries: formatRecords(changed), ...where },
    MAX_CHANGE_BYTES,
  );
}

/** The fields in the order that `parseRecord` relies on. null: its text has more than `limit` bytes. */
function format(record: Manifest): Buffer;
function format(record: Manifest, limit: number): Buffer | null;
function format({ v, snapshot, base, ...rest }: Manifest, limit = Infinity): Buffer | null {
  const text = Buffer.from(JSON.stringify({ v, snapshot, base, ...rest }));
  return text.length > limit ? null : deflateSync(text);
}

/** How each record begins. */
const MANIFEST_START = /^\{"v":(\d{1,9}),"snapshot":"[0-9a-f]{64}","base":(null|"[0-9a-f]{64}"),/;
const LONGEST_START = 256;

/**
 * A record as it is in the store. Its first bytes say whether it is a whole one, and so how far it is inflated.
 * @throws Error for what is no record, `NewerRecord` for one of a later version.
 */
function parseRecord(bytes: Buffer): Manifest {
  const [, version, base] = MANIFEST_START.exec(inflateStart(bytes, LONGEST_START).toString('latin1')) ?? [];
  if (Number(version) > 1) throw new NewerRecord(`a manifest of version ${version}`);
  const whole = base === 'null';
  const record = parseJson(inflate(bytes, whole ? MAX_INFLATED_BYTES : MAX_CHANGE_BYTES)) as Manifest;
  if ((record.v as number) !== 1) throw new NewerRecord(`a manifest of version ${String(record.v)}`);
  // Of a field that is there twice, the last counts.
  if (whole !== (record.base === null)) throw new Error('it does not match its first bytes');
  return record;
}

/**
 * What a record needs besides itself: the record that it changes, and packs.
 * @throws Error for what is no record, `NewerRecord` for one of a later version.
 */
export function recordNeeds(bytes: Buffer): { base: string | null; packs: string[] } {
  const record = parseRecord(bytes);
  return { base: record.base, packs: record.packs.map(([sha256]) => sha256) };
}

export class NewerRecord extends Error {}

/**
 * The snapshot that a history of records leads to, and where they say that contents are.
 * @throws Error where they are not what their ids say, `NewerRecord` for one of a later version.
 */
export function applyManifests(records: { id: string; bytes: Buffer }[]): { snapshot: Snapshot } & ContentLocations {
  let snapshot: Snapshot | undefined;
  const packs = new Map<string, number>();
  const recipes: ContentLocations['recipes'] = {};
  const data: ContentLocations['inline'] = {};
  for (const { id, bytes } of records) {
    const record = parseRecord(bytes);
    if (record.base === null) {
      const canonical = Buffer.from(record.canonical);
      // Before it is parsed: a forged object of some 100 KB inflates to millions of entries.
      if (hash('sha256', canonical, 'hex') !== id) throw new Error('a manifest is not that of its snapshot');
      snapshot = Snapshot.parse(canonical);
    } else if (snapshot?.id === record.base)
      snapshot = applyDelta(snapshot, { deleted: record.deleted, changed: parseRecords(record.entries) });
    else throw new Error('a manifest is not based on the one before it');
    if (snapshot.id !== id) throw new Error('a manifest is not that of its snapshot');
    for (const [sha256, size] of record.packs) packs.set(sha256, size);
    Object.assign(recipes, record.recipes);
    Object.assign(data, record.inline);
  }
  if (!snapshot) throw new Error('there is no manifest');
  return { snapshot, packs: [...packs], recipes, inline: data };
}
