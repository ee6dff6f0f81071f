import { randomBytes } from 'node:crypto';
import { Problem } from '../report/problem';
import { formatCondemned, GRACE, NewerCondemned, readCondemned, type Condemned } from '../store/condemned';
import { storeBase } from '../store/keys';
import type { Store } from '../store/store';
import { Indexes } from './indexes';
import { takeInventory, type Inventory, type Item, type Kind } from './inventory';
import { findNeeded, type Limits } from './needed';
import { newer, StoreReader } from './reader';
import { remove } from './remove';

/** A pack that is needed and in no index is put into one when it is as old as this, ms: its sync would have done so. */
const UNPUBLISHED = 24 * 3_600_000;

export interface Amount {
  count: number;
  bytes: number;
}

/** What becomes of the objects of one kind. */
export interface Fate {
  kept: Amount;
  /** Nothing needs it; removed by a later prune. */
  condemned: Amount;
  /** Removed by this one, or, where nothing is applied, what would be. */
  removed: Amount;
}

export interface Pruned {
  kinds: Record<Exclude<Kind, 'index'>, Fate>;
  /** How many runs are kept, and how many go: their objects are of the kind `run`. */
  runs: { kept: number; removed: number };
  /** Refs that keep nothing, below `v1/`. */
  staleRefs: string[];
  /** Indexes, refs and records that can't be read, below `v1/`. */
  damaged: string[];
  /** Runs' records that can't be verified, below `v1/`: their runs keep all that they have. */
  unverified: string[];
  unknown: Amount;
  /** Index objects that were replaced, and by how many. */
  indexes: { from: number; to: number };
  /** The earliest time, ms since the epoch, at which something of what is condemned can be removed. */
  next: number | null;
}

export interface PruneWishes extends Limits {
  apply: boolean;
  /** Told what is done, and how far it is. `total` is 0 where it is not known. */
  onProgress?: (what: 'indexes' | 'listing' | 'records' | 'merging' | 'removing', done: number, total: number) => void;
}

/**
 * Removes from a store what nothing needs, in the presence of syncs: docs/FORMAT.md, "Garbage". It can be killed at any
 * point, and run again.
 */
export async function prune(store: Store, prefix: string, wishes: PruneWishes): Promise<Pruned> {
  const base = storeBase(prefix);
  const progress = wishes.onProgress ?? (() => undefined);
  // Indexes before packs: what an index names was there before it, so a pack that is not found then is gone.
  const indexes = await Indexes.read(store, base, (done, total) => progress('indexes', done, total));
  const key = `${base}x/condemned`;
  const before = await readCondemned(store, key, true).catch((error: Error) => {
    throw error instanceof NewerCondemned ? newer('x/condemned', error) : error;
  });
  const inventory = await takeInventory(store, base, (count) => progress('listing', count, 0));
  const now = (await store.now()).getTime();
  const reader = new StoreReader(store, base, (done, total) => progress('records', done, total));
  const { names: needed, runs } = await findNeeded(inventory.items, wishes, now, reader);
  const indexed = indexes.packs;
  const sentence = judge(inventory, needed, indexed, before, now);
  const { condemned, doomed } = sentence;
  const { unverified } = reader;
  const damaged = [...indexes.damaged, ...reader.damaged];
  const pruned = { ...report(inventory, sentence, { damaged, unverified }), runs };
  if (!wishes.apply) return pruned;

  const by = randomBytes(8).toString('hex');
  const write = async (etag: string | null) => {
    const written = await store.swap(key, formatCondemned(condemned, by), etag);
    if (written === null) throw overtaken();
    return written;
  };
  let etag = await write(before.etag);
  const isThere = (sha256: string) => inventory.items.has(`p/${sha256}`);
  const unpublished = [...inventory.items.values()].filter(
    ({ kind, name, modified }) =>
      kind === 'pack' && !indexed.has(name.slice(2)) && needed.has(name) && now - modified >= UNPUBLISHED,
  );
  pruned.indexes = await indexes.compact(
    (sha256) => isThere(sha256) && !condemned.has(`p/${sha256}`),
    unpublished.map(({ name }) => name.slice(2)),
    (done, total) => progress('merging', done, total),
  );
  if ([...condemned.values()].includes(null)) {
    // From here on nobody learns of them any more.
    const since = (await store.now()).getTime();
    for (const [name, time] of condemned) if (time === null) condemned.set(name, since);
    etag = await write(etag);
    pruned.next = nextRemoval(sentence);
  }
  await remove(store, base, doomed, {
    onRemoved: (done) => progress('removing', done, doomed.size),
    // Whoever wrote the list last is the only one that removes.
    check: async () => {
      if ((await store.etag(key)) !== etag) throw overtaken();
    },
  });
  return pruned;
}

function overtaken(): Problem {
  return new Problem('PRUNE_OVERTAKEN', 'Another prune of this store is at work; this one has left the rest to it.', {
    next: 'Look again when it has ended.',
  });
}

interface Sentence {
  condemned: Condemned['since'];
  /** What goes now. */
  doomed: Map<string, Item>;
}

/** What nobody comes back to who found it once: a run's objects are that run's alone. */
const AT_ONCE: ReadonlySet<Kind> = new Set(['helper', 'leftover', 'run', 'key']);

/** What nothing needs: packs, records and refs, which a sync may come back to, wait; the rest goes at once. */
function judge(
  { items }: Inventory,
  needed: ReadonlySet<string>,
  indexed: ReadonlySet<string>,
  before: Condemned,
  now: number,
): Sentence {
  const condemned: Condemned['since'] = new Map();
  const doomed = new Map<string, Item>();
  for (const item of items.values()) {
    const { kind, name } = item;
    if (needed.has(name)) continue;
    if (AT_ONCE.has(kind)) {
      doomed.set(name, item);
      continue;
    }
    const isIndexed = kind === 'pack' && indexed.has(name.slice(2));
    const earlier = before.since.get(name) ?? now;
    // One that was written anew since then begins anew.
    const since = isIndexed ? null : earlier >= item.modified ? earlier : now;
    condemned.set(name, since);
    if (since !== null && now - since >= GRACE) doomed.set(name, item);
  }
  return { condemned, doomed };
}

function report(
  { items, unknown }: Inventory,
  { condemned, doomed }: Sentence,
  { damaged, unverified }: Pick<StoreReader, 'damaged' | 'unverified'>,
): Omit<Pruned, 'runs'> {
  const none = (): Amount => ({ count: 0, bytes: 0 });
  const fate = (): Fate => ({ kept: none(), condemned: none(), removed: none() });
  const kinds = {
    ...{ pack: fate(), record: fate(), ref: fate() },
    ...{ helper: fate(), run: fate(), key: fate(), leftover: fate() },
  };
  const staleRefs: string[] = [];
  for (const { kind, name, size } of items.values()) {
    if (kind === 'index') continue;
    if (kind === 'ref' && condemned.has(name)) staleRefs.push(name);
    const amount = kinds[kind][doomed.has(name) ? 'removed' : condemned.has(name) ? 'condemned' : 'kept'];
    amount.count++;
    amount.bytes += size;
  }
  return {
    kinds,
    staleRefs,
    damaged,
    unverified,
    unknown,
    indexes: { from: 0, to: 0 },
    next: nextRemoval({ condemned, doomed }),
  };
}

function nextRemoval({ condemned, doomed }: Sentence): number | null {
  let first = Infinity;
  for (const [name, since] of condemned) if (since !== null && !doomed.has(name)) first = Math.min(first, since);
  return first === Infinity ? null : first + GRACE;
}
