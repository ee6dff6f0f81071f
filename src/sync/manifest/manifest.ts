import { hash } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import type { ContentLocations, Manifest } from '../../schema/manifest';
import { applyDelta, difference, type Delta } from '../../snapshot/diff';
import type { Chunk } from '../../snapshot/chunk';
import { ChunkList } from '../../snapshot/chunk-list';
import { formatEntries, parseEntries, Snapshot } from '../../snapshot/snapshot';
import { inflate, inflateStart, parseJson } from '../../system/bounded';

export type { ContentLocations };

/** A manifest names each file of a workspace once. Its size limits: as it is stored, and inflated. */
export const MAX_MANIFEST_BYTES = 64 * 1024 * 1024;
export const MAX_INFLATED_BYTES = 256 * 1024 * 1024;
/**
 * The most bytes of a change, inflated. It is known by its hash only when it was applied to what it changes: so it is
 * small, and a larger change is stored as a full manifest.
 */
export const MAX_CHANGE_BYTES = 16 * 1024 * 1024;
/** The most delta manifests that follow a full one. */
export const MAX_HISTORY = 16;
const VERSION = 2;

export function encodeFull(snapshot: Snapshot, where: ContentLocations): Buffer {
  return format({ v: VERSION, snapshot: snapshot.id, base: null, canonical: snapshot.canonical.toString(), ...where });
}

/** Returns null if the change is too large for a manifest of its own. */
export function encodeDelta(
  base: Snapshot,
  snapshot: Snapshot,
  where: ContentLocations,
  { deleted: deleted, changed }: Delta = difference(base, snapshot),
): Buffer | null {
  return format(
    { v: VERSION, snapshot: snapshot.id, base: base.id, deleted: deleted, entries: formatEntries(changed), ...where },
    MAX_CHANGE_BYTES,
  );
}

/** The fields in the order that `parseManifest` relies on. null: its text has more than `limit` bytes. */
function format(manifest: Manifest): Buffer;
function format(manifest: Manifest, limit: number): Buffer | null;
function format({ v, snapshot, base, ...rest }: Manifest, limit = Infinity): Buffer | null {
  const text = Buffer.from(JSON.stringify({ v, snapshot, base, ...rest }));
  return text.length > limit ? null : deflateSync(text);
}

/** The first bytes of a manifest. */
const MANIFEST_START = /^\{"v":(\d{1,9}),"snapshot":"[0-9a-f]{64}","base":(null|"[0-9a-f]{64}"),/;
const MAX_START_BYTES = 256;

/**
 * Parses a manifest of the store. Its first bytes say whether it is full, and so how far it is inflated.
 * @throws Error for what is no manifest, `NewerManifest` for one of a later version.
 */
function parseManifest(bytes: Buffer): Manifest | FirstManifest {
  const [, version, base] = MANIFEST_START.exec(inflateStart(bytes, MAX_START_BYTES).toString('latin1')) ?? [];
  if (Number(version) > VERSION) throw new NewerManifest(`a manifest of version ${version}`);
  const whole = base === 'null';
  const manifest = parseJson(inflate(bytes, whole ? MAX_INFLATED_BYTES : MAX_CHANGE_BYTES)) as Manifest | FirstManifest;
  if (manifest.v !== 1 && manifest.v !== VERSION)
    throw new NewerManifest(`a manifest of version ${String((manifest as Manifest).v)}`);
  // Of a field that is there twice, the last counts.
  if (whole !== (manifest.base === null)) throw new Error('it does not match its first bytes');
  return manifest;
}

/** Version 1: a recipe is a list of chunks. */
type FirstManifest = DistributiveOmit<Manifest, 'v' | 'recipes'> & { v: 1; recipes: Record<string, Chunk[]> };
type DistributiveOmit<T, K extends keyof T> = T extends unknown ? Omit<T, K> : never;

function recipesOf(manifest: Manifest | FirstManifest): ContentLocations['recipes'] {
  if (manifest.v !== 1) return manifest.recipes;
  const recipes = Object.entries(manifest.recipes);
  return Object.fromEntries(recipes.map(([content, chunks]) => [content, ChunkList.of(chunks).encode()]));
}

/**
 * What a manifest needs: the manifest that it is based on, and packs.
 * @throws Error for what is no manifest, `NewerManifest` for one of a later version.
 */
export function manifestNeeds(bytes: Buffer): { base: string | null; packs: string[] } {
  const manifest = parseManifest(bytes);
  return { base: manifest.base, packs: manifest.packs.map(([sha256]) => sha256) };
}

export class NewerManifest extends Error {}

/**
 * The snapshot that a chain of manifests leads to, and where they say that contents are.
 * @throws Error where they are not what their ids say, `NewerManifest` for one of a later version.
 */
export function applyManifests(manifests: { id: string; bytes: Buffer }[]): { snapshot: Snapshot } & ContentLocations {
  let snapshot: Snapshot | undefined;
  const packs = new Map<string, number>();
  const recipes: ContentLocations['recipes'] = {};
  const data: ContentLocations['inline'] = {};
  for (const { id, bytes } of manifests) {
    const manifest = parseManifest(bytes);
    if (manifest.base === null) {
      const canonical = Buffer.from(manifest.canonical);
      // Before it is parsed: a forged object of some 100 KB inflates to millions of entries.
      if (hash('sha256', canonical, 'hex') !== id) throw new Error('a manifest is not that of its snapshot');
      snapshot = Snapshot.parse(canonical);
    } else if (snapshot?.id === manifest.base)
      snapshot = applyDelta(snapshot, { deleted: manifest.deleted, changed: parseEntries(manifest.entries) });
    else throw new Error('a manifest is not based on the one before it');
    if (snapshot.id !== id) throw new Error('a manifest is not that of its snapshot');
    for (const [sha256, size] of manifest.packs) packs.set(sha256, size);
    Object.assign(recipes, recipesOf(manifest));
    Object.assign(data, manifest.inline);
  }
  if (!snapshot) throw new Error('there is no manifest');
  return { snapshot, packs: [...packs], recipes, inline: data };
}
