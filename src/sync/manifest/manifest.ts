import { hash } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import type { ContentLocations, Manifest } from '../../schema/manifest';
import { applyDelta, difference, type Delta } from '../../snapshot/diff';
import type { Entry } from '../../snapshot/entry';
import type { Chunk } from '../../snapshot/chunk';
import { ChunkList } from '../../snapshot/chunk-list';
import { formatEntries, parseEntries, Snapshot } from '../../snapshot/snapshot';
import { inflate, inflateStart, TooLarge, ValueLimit } from '../../system/bounded';

export type { ContentLocations };

/** A manifest names each file of a workspace once. Its size limits: as it is stored, and inflated. */
export const MAX_MANIFEST_BYTES = 64 * 1024 * 1024;
export const MAX_INFLATED_BYTES = 256 * 1024 * 1024;
/**
 * The most bytes of a change, inflated. It is known by its hash only when it was applied to what it changes: so it is
 * small, and a larger change is stored as a full manifest.
 */
export const MAX_CHANGE_BYTES = 16 * 1024 * 1024;
/** The same as it is stored: what nothing compresses becomes a little larger. */
const MAX_STORED_CHANGE_BYTES = MAX_CHANGE_BYTES + 64 * 1024;
/** The most manifests of a chain. */
export const MAX_HISTORY = 16;
/** The most bytes of a chain, as it is stored. */
export const MAX_CHAIN_BYTES = MAX_MANIFEST_BYTES + MAX_HISTORY * MAX_STORED_CHANGE_BYTES;
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
 * @param values those of its chain.
 * @throws Error for what is no manifest, `NewerManifest` for one of a later version.
 */
function parseManifest(bytes: Buffer, values = new ValueLimit()): Manifest | FirstManifest {
  const [, version, base] = MANIFEST_START.exec(inflateStart(bytes, MAX_START_BYTES).toString('latin1')) ?? [];
  if (Number(version) > VERSION) throw new NewerManifest(`a manifest of version ${version}`);
  const whole = base === 'null';
  if (!whole && bytes.length > MAX_STORED_CHANGE_BYTES) throw new TooLarge(MAX_STORED_CHANGE_BYTES, 'stored byte');
  const text = inflate(bytes, whole ? MAX_INFLATED_BYTES : MAX_CHANGE_BYTES);
  const manifest = values.parse(text) as Manifest | FirstManifest;
  if (manifest.v !== 1 && manifest.v !== VERSION)
    throw new NewerManifest(`a manifest of version ${String((manifest as Manifest).v)}`);
  // Of a field that is there twice, the last counts.
  if (whole !== (manifest.base === null)) throw new Error('it does not match its first bytes');
  return manifest;
}

/** Version 1: a recipe is a list of chunks. */
type FirstManifest = DistributiveOmit<Manifest, 'v' | 'recipes'> & { v: 1; recipes: Record<string, Chunk[]> };
type DistributiveOmit<T, K extends keyof T> = T extends unknown ? Omit<T, K> : never;

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
 * The snapshot that a chain of manifests leads to, and where they say that contents are. What they hold together is limited,
 * so that many small objects don't exhaust memory.
 * @throws Error where they are not what their ids say, `NewerManifest` for one of a later version.
 */
export function applyManifests(manifests: { id: string; bytes: Buffer }[]): { snapshot: Snapshot } & ContentLocations {
  if (new Set(manifests.map(({ id }) => id)).size < manifests.length) throw new Error('a manifest is named twice');
  let snapshot: Snapshot | undefined;
  const values = new ValueLimit();
  const locations = new ChainLocations();
  for (const { id, bytes } of manifests) {
    const manifest = parseManifest(bytes, values);
    let changed: Entry[];
    if (manifest.base === null) {
      const canonical = Buffer.from(manifest.canonical);
      // Before it is parsed: a forged object of some 100 KB inflates to millions of entries.
      if (hash('sha256', canonical, 'hex') !== id) throw new Error('a manifest is not that of its snapshot');
      snapshot = Snapshot.parse(canonical);
      changed = [...snapshot.entries];
    } else if (snapshot?.id === manifest.base) {
      changed = parseEntries(manifest.entries);
      snapshot = applyDelta(snapshot, { deleted: manifest.deleted, changed });
    } else throw new Error('a manifest is not based on the one before it');
    if (snapshot.id !== id) throw new Error('a manifest is not that of its snapshot');
    locations.add(manifest, changed);
  }
  if (!snapshot) throw new Error('there is no manifest');
  return { snapshot, ...locations.all };
}

/** Where contents are, as the manifests of a chain say: of no content that none of their snapshots has. */
class ChainLocations {
  private readonly contents = new Set<string>();
  private readonly packs = new Map<string, number>();
  private readonly recipes: ContentLocations['recipes'] = {};
  private readonly inline: ContentLocations['inline'] = {};
  private bytes = 0;

  /** @param changed the entries that the manifest brings. */
  add(manifest: Manifest | FirstManifest, changed: readonly Entry[]): void {
    for (const entry of changed) if (entry.kind === 'file') this.contents.add(entry.sha256);
    for (const [sha256, size] of manifest.packs) if (isPack(sha256, size)) this.packs.set(sha256, size);
    for (const content in manifest.recipes) {
      const recipe = manifest.recipes[content];
      this.set(this.recipes, content, typeof recipe === 'object' ? ChunkList.of(recipe).encode() : recipe);
    }
    for (const content in manifest.inline) this.set(this.inline, content, manifest.inline[content]);
  }

  get all(): ContentLocations {
    return { packs: [...this.packs], recipes: this.recipes, inline: this.inline };
  }

  private set(to: Record<string, string>, content: string, text: string): void {
    if (!this.contents.has(content) || typeof text !== 'string') return;
    this.bytes += text.length - (to[content]?.length ?? 0);
    // A full manifest of the same snapshot could not hold more.
    if (this.bytes > MAX_INFLATED_BYTES) throw new TooLarge(MAX_INFLATED_BYTES, 'byte of recipes and contents');
    to[content] = text;
  }
}

function isPack(sha256: unknown, size: unknown): boolean {
  return /^[0-9a-f]{64}$/.test(sha256 as string) && Number.isSafeInteger(size) && (size as number) >= 0;
}
