import { posix } from 'node:path';
import { randomBytes } from 'node:crypto';
import { Problem } from '../report/problem';
import {
  formatPendingDeletes,
  DELETE_DELAY,
  NewerPendingDeletes,
  readPendingDeletes,
  type PendingDeletes,
} from '../store/pending-deletes';
import { storeBase, storeNames } from '../store/keys';
import type { Store } from '../store/store';
import { Indexes } from './indexes';
import { takeInventory, type Inventory, type Item, type Kind } from './inventory';
import { markReachable } from './needed';
import { newer, StoreReader } from './reader';
import { remove } from './remove';
import type { Limits } from './types';

/** A pack that is needed and in no index is put into one when it is as old as this, ms: its sync would have done so. */
const UNPUBLISHED_AGE_MS = 24 * 3_600_000;

export interface Amount {
  count: number;
  bytes: number;
}

/** What becomes of the objects of one kind. */
export interface KindReport {
  kept: Amount;
  /** Nothing needs it; removed by a later prune. */
  pending: Amount;
  /** Removed by this one, or, where nothing is applied, what would be. */
  removed: Amount;
}

export interface Pruned {
  kinds: Record<Exclude<Kind, 'index'>, KindReport>;
  /** How many runs are kept, and how many go: their objects are of the kind `run`. */
  runs: { kept: number; removed: number };
  /** Refs that keep nothing, below the store's base. */
  staleRefs: string[];
  /** Indexes, refs and manifests that can't be read, below the store's base. */
  damaged: string[];
  /** Runs' records that can't be verified, below the store's base: their runs keep all that they have. */
  unverified: string[];
  /** Refs and manifests that S3 does not return, below the store's base: packs, manifests and runtimes are all kept. */
  unreadable: string[];
  unknown: Amount;
  /** Index objects that were replaced, and by how many. */
  indexes: { from: number; to: number };
  /** The earliest time, ms since the epoch, at which a pending delete can be carried out. */
  next: number | null;
}

export interface PruneStoreOptions extends Limits {
  apply: boolean;
  /** Told what is done, and how far it is. `total` is 0 where it is not known. */
  onProgress?: (
    what: 'indexes' | 'listing' | 'manifests' | 'merging' | 'removing',
    done: number,
    total: number,
  ) => void;
}

/**
 * Removes from a store what nothing needs, in the presence of syncs: docs/reference/formats.md, "Garbage". It can be killed at any
 * point, and run again.
 */
export async function prune(store: Store, prefix: string, options: PruneStoreOptions): Promise<Pruned> {
  const base = storeBase(prefix);
  const progress = options.onProgress ?? (() => undefined);
  // The list of the indexes before that of the packs: what an index names was there before it, so a pack that is not found then is gone.
  const names = await Indexes.list(store, base);
  const key = base + storeNames.index('pending-deletes');
  const before = await readPendingDeletes(store, key, true).catch((error: Error) => {
    throw error instanceof NewerPendingDeletes ? newer(storeNames.index('pending-deletes'), error) : error;
  });
  const inventory = await takeInventory(store, base, (count) => progress('listing', count, 0));
  const exists = (sha256: string) => inventory.items.has(storeNames.pack(sha256));
  const indexes = await Indexes.read({ store, base }, names, exists, (done, total) => progress('indexes', done, total));
  const now = (await store.now()).getTime();
  const reader = new StoreReader(store, base, (done, total) => progress('manifests', done, total));
  const { names: reachable, runs } = await markReachable(inventory.items, options, now, reader);
  // It may be a lifecycle rule that has archived them, or a key that this caller may not use: what they name can be everything.
  if (reader.unreadable.length)
    for (const { kind, name } of inventory.items.values()) if (NAMED_BY_MANIFESTS.has(kind)) reachable.add(name);
  const indexed = indexes.packs;
  const plan = planPrune(inventory, reachable, indexed, before, now);
  const { pendingDeletes, deletable } = plan;
  const unverified = reader.unverified.filter((name) => reachable.has(name));
  const damaged = [...new Set([...indexes.damaged, ...reader.damaged])];
  const pruned = { ...report(inventory, plan, { damaged, unverified, unreadable: reader.unreadable }), runs };
  if (!options.apply) return pruned;

  const by = randomBytes(8).toString('hex');
  const write = async (etag: string | null) => {
    const written = await store.compareAndSwap(key, formatPendingDeletes(pendingDeletes, by), etag);
    if (written === null) throw concurrentPrune();
    return written;
  };
  let etag = await write(before.etag);
  const unpublished = [...inventory.items.values()].filter(
    ({ kind, name, modified }) =>
      kind === 'pack' &&
      !indexed.has(posix.basename(name)) &&
      reachable.has(name) &&
      now - modified >= UNPUBLISHED_AGE_MS,
  );
  pruned.indexes = await indexes.compact(
    (sha256) => exists(sha256) && !pendingDeletes.has(storeNames.pack(sha256)),
    unpublished.map(({ name }) => posix.basename(name)),
    (done, total) => progress('merging', done, total),
  );
  if ([...pendingDeletes.values()].includes(null)) {
    // From here on no client learns of them any more.
    const since = (await store.now()).getTime();
    for (const [name, time] of pendingDeletes) if (time === null) pendingDeletes.set(name, since);
    etag = await write(etag);
    pruned.next = nextRemoval(plan);
  }
  await remove(store, base, deletable, {
    onRemoved: (done) => progress('removing', done, deletable.size),
    // Whoever wrote the list last is the only one that removes.
    check: async () => {
      if ((await store.etag(key)) !== etag) throw concurrentPrune();
    },
  });
  return pruned;
}

function concurrentPrune(): Problem {
  return new Problem('CONCURRENT_PRUNE', 'Another prune of this store is running; this one stopped.', {
    next: 'Run it again when the other has ended.',
  });
}

interface PrunePlan {
  pendingDeletes: PendingDeletes['since'];
  /** What goes now. */
  deletable: Map<string, Item>;
}

/** What refs and manifests name. */
const NAMED_BY_MANIFESTS: ReadonlySet<Kind> = new Set(['pack', 'manifest', 'runtime']);

/** What nobody comes back to who found it once: a run's objects are that run's alone. */
const DELETED_WITHOUT_DELAY: ReadonlySet<Kind> = new Set(['runtime', 'temporary', 'run', 'key']);

/** Unreachable packs, manifests and refs, which a sync may come back to, wait; the rest goes at once. */
function planPrune(
  { items }: Inventory,
  reachable: ReadonlySet<string>,
  indexed: ReadonlySet<string>,
  before: PendingDeletes,
  now: number,
): PrunePlan {
  const pendingDeletes: PendingDeletes['since'] = new Map();
  const deletable = new Map<string, Item>();
  for (const item of items.values()) {
    const { kind, name } = item;
    if (reachable.has(name)) continue;
    if (DELETED_WITHOUT_DELAY.has(kind)) {
      deletable.set(name, item);
      continue;
    }
    const isIndexed = kind === 'pack' && indexed.has(posix.basename(name));
    const earlier = before.since.get(name) ?? now;
    // The delay restarts if the object was written since then, and if its time is in the future, which no prune writes.
    const since = isIndexed ? null : earlier >= item.modified && earlier <= now ? earlier : now;
    pendingDeletes.set(name, since);
    if (since !== null && now - since >= DELETE_DELAY) deletable.set(name, item);
  }
  return { pendingDeletes, deletable };
}

function report(
  { items, unknown }: Inventory,
  { pendingDeletes, deletable }: PrunePlan,
  { damaged, unverified, unreadable }: Pick<StoreReader, 'damaged' | 'unverified' | 'unreadable'>,
): Omit<Pruned, 'runs'> {
  const none = (): Amount => ({ count: 0, bytes: 0 });
  const report = (): KindReport => ({ kept: none(), pending: none(), removed: none() });
  const kinds = {
    pack: report(),
    manifest: report(),
    ref: report(),
    runtime: report(),
    run: report(),
    key: report(),
    temporary: report(),
  };
  const staleRefs: string[] = [];
  for (const { kind, name, size } of items.values()) {
    if (kind === 'index') continue;
    if (kind === 'ref' && pendingDeletes.has(name)) staleRefs.push(name);
    const amount = kinds[kind][deletable.has(name) ? 'removed' : pendingDeletes.has(name) ? 'pending' : 'kept'];
    amount.count++;
    amount.bytes += size;
  }
  return {
    kinds,
    staleRefs,
    damaged,
    unverified,
    unreadable,
    unknown,
    indexes: { from: 0, to: 0 },
    next: nextRemoval({ pendingDeletes, deletable }),
  };
}

function nextRemoval({ pendingDeletes, deletable }: PrunePlan): number | null {
  let first = Infinity;
  for (const [name, since] of pendingDeletes)
    if (since !== null && !deletable.has(name)) first = Math.min(first, since);
  return first === Infinity ? null : first + DELETE_DELAY;
}
