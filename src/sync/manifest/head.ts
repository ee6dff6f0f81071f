import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { z } from 'zod';
import { Snapshot } from '../../snapshot/snapshot';
import { INDEX_CACHE_TTL_MS } from '../../store/pending-deletes';
import { readCache, writeCache } from '../../system/cache-file';
import { inflate, TooLarge } from '../../system/bounded';
import { mapConcurrent } from '../../system/side-by-side';
import type { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';
import {
  applyManifests,
  MAX_CHAIN_BYTES,
  MAX_HISTORY,
  MAX_INFLATED_BYTES,
  MAX_MANIFEST_BYTES,
  type ContentLocations,
} from './manifest';
import type { SyncContext } from '../context';
import { UnusableObject } from '../../store/objects/unusable';

/** What an instance's tree acknowledged last. It only chooses what is sent: a wrong one costs a repair. */
export interface Head {
  snapshot: string;
  /** The records that lead to the snapshot, the whole one first, by the ids of their snapshots; [] where there is none. */
  history: string[];
  /** Packs that those records name. */
  packs: ContentLocations['packs'];
  /** The runtime that the instance has. */
  runtime: string;
  /** When the store's ref was last written, as far as is known here, ms since the epoch. */
  written: number;
  /** The snapshot itself, read when it is asked for. Throws an Error where it is damaged. */
  read(): Snapshot;
}

/** A tree's ref: docs/reference/formats.md, "Store". */
export interface Ref {
  v: 2;
  snapshot: string;
  history: string[];
  runtime: string;
}

/** A ref names an instance's head and at most 16 records. */
export const MAX_REF_BYTES = 64 * 1024;

/** Manifests of a chain that are read at once: each may have 64 MiB. */
const CONCURRENT_READS = 4;

/** What a head is stored and remembered by. */
export type NewHead = Omit<Head, 'read' | 'written'>;

const id = z.string().regex(/^[0-9a-f]{64}$/);
const remembered = z.object({
  v: z.literal(2),
  snapshot: id,
  history: z.array(id).max(MAX_HISTORY),
  packs: z.array(z.tuple([id, z.number().int().nonnegative()])),
  runtime: z.string(),
  written: z.number().default(0),
});

const refSchema = z.object({
  v: z.literal(2),
  snapshot: id,
  history: z.array(id).min(1).max(MAX_HISTORY),
  runtime: z.string(),
});

/** This machine's own memory of a head; null where it has none. */
export function loadCachedHead(context: SyncContext, instance: string): Head | null {
  return readCache(localFile(context, instance), (data) => {
    const end = data.indexOf('\n');
    const { v: _version, ...head } = remembered.parse(JSON.parse(data.toString('utf8', 0, end)));
    return {
      ...head,
      read: () => {
        const snapshot = Snapshot.parse(inflate(data.subarray(end + 1), MAX_INFLATED_BYTES));
        if (snapshot.id !== head.snapshot) throw new Error('the remembered head is damaged');
        return snapshot;
      },
    };
  });
}

/** Whether what a head names is still kept by `prune`, as far as this machine's memory goes. */
export function isFresh({ written }: Head): boolean {
  return Math.abs(Date.now() - written) < INDEX_CACHE_TTL_MS;
}

/**
 * The store's, else what is left of this machine's memory when that is too old: which snapshot it was.
 * @returns null where no sync to this instance and tree was ever acknowledged, or its manifest is not usable.
 */
export async function readHead(context: SyncContext, instance: string): Promise<Head | null> {
  const stored = await readStored(context, instance);
  if (stored) return stored;
  const local = loadCachedHead(context, instance);
  return local && { ...local, history: [], packs: [] };
}

async function readStored({ store, keys, tree }: SyncContext, instance: string): Promise<Head | null> {
  const key = keys.ref(tree, instance);
  const stored = await store.getWithETag(key, MAX_REF_BYTES).catch(unlessUnusable);
  if (!stored) return null;
  try {
    const ref = refSchema.parse(JSON.parse(stored.bytes.toString()));
    const { snapshot, packs } = applyManifests(await readChain(store, keys, ref.history));
    if (snapshot.id !== ref.snapshot) return null;
    return { ...ref, packs, written: stored.modified, read: () => snapshot };
  } catch {
    return null;
  }
}

/** @throws Error where one is missing or not usable, or where they have more bytes together than a chain may. */
async function readChain(store: Store, keys: StoreKeys, ids: string[]): Promise<{ id: string; bytes: Buffer }[]> {
  const manifests = ids.map((id): { id: string; bytes: Buffer } => ({ id, bytes: Buffer.alloc(0) }));
  if (new Set(ids).size < ids.length) throw new Error('a manifest is named twice');
  let total = 0;
  await mapConcurrent(manifests, CONCURRENT_READS, async (manifest) => {
    if (total > MAX_CHAIN_BYTES) return;
    manifest.bytes = (await store.get(keys.manifest(manifest.id), MAX_MANIFEST_BYTES))!;
    total += manifest.bytes.length;
  });
  if (total > MAX_CHAIN_BYTES) throw new TooLarge(MAX_CHAIN_BYTES, 'stored byte');
  return manifests;
}

/** A ref that can't be read is as if it were not there: it only saves time. */
function unlessUnusable(error: unknown): null {
  if (error instanceof UnusableObject) return null;
  throw error;
}

/** Remembers an acknowledged head here, so that the next sync knows it without asking. */
export function cacheHead(context: SyncContext, instance: string, head: Omit<Head, 'read'>, snapshot: Snapshot): void {
  const file = localFile(context, instance);
  if (!file) return;
  const { history, packs, runtime, written } = head;
  const header = JSON.stringify({ v: 2, snapshot: snapshot.id, history, packs, runtime, written });
  writeCache(file, Buffer.concat([Buffer.from(`${header}\n`), deflateSync(snapshot.canonical, { level: 1 })]));
}

/** Tells everyone who shares the tree. */
export async function storeHead({ store, keys, tree }: SyncContext, instance: string, head: NewHead): Promise<void> {
  const ref: Ref = { v: 2, snapshot: head.snapshot, history: head.history, runtime: head.runtime };
  await store.put(keys.ref(tree, instance), Buffer.from(JSON.stringify(ref)), { contentType: 'application/json' });
}

function localFile({ stateDirectory, store, keys, tree }: SyncContext, instance: string): string | undefined {
  if (!stateDirectory) return undefined;
  const name = createHash('sha256')
    .update(JSON.stringify([store.bucket, keys.ref(tree, instance)]))
    .digest('hex');
  return join(stateDirectory, 'heads', name.slice(0, 32));
}
