import { deflateSync } from 'node:zlib';
import { WHOLE } from '../snapshot/chunk';
import type { FileEntry } from '../snapshot/entry';
import type { Delta } from '../snapshot/diff';
import type { Recipes } from '../snapshot/recipes';
import type { Snapshot } from '../snapshot/snapshot';
import type { PackName } from '../store/pack-index';
import type { Head } from './head';
import { readSnapshot } from './read-snapshot';
import { readVerified } from './read-verified';
import { changeRecord, LONGEST_HISTORY, recordNeeds, wholeRecord, type Whereabouts } from './record';
import type { SyncContext } from './strategy';

/** A snapshot's record on its way to the store. */
export interface PreparedRecord {
  history: string[];
  packs: Whereabouts['packs'];
  /** Sends it, once. */
  store(): Promise<void>;
}

/** A snapshot that is sent, and what is known of it. */
export interface Recorded {
  snapshot: Snapshot;
  recipes: Recipes;
  base: Head | null;
  /** The base's snapshot. */
  before: Snapshot | null;
  /** From there to the snapshot. */
  delta: Delta | null;
  where: Whereabouts;
  /** Where the chunks are that were sent with it. */
  located: ReadonlyMap<string, PackName>;
}

/** Contents that are in no pack are at most so many bytes in a record. */
const MOST_DATA = 1024 * 1024;

/** What the next sync, of whoever, needs to know of this one: what it changes in the base's record, or the whole. */
export async function prepareRecord(context: SyncContext, of: Recorded): Promise<PreparedRecord> {
  const { base, before, snapshot, where, delta, located } = of;
  if (base && before && delta && base.history.length && base.history.length < LONGEST_HISTORY) {
    const packs = [...new Map([...base.packs, ...where.packs])];
    // What the tree held before has a record, which those that came after lead back to: it must not lead to them.
    const earlier = base.history.indexOf(snapshot.id);
    if (earlier >= 0) return { history: base.history.slice(0, earlier + 1), packs, store: async () => undefined };
    const prepared: PreparedRecord = {
      history: [...base.history, snapshot.id],
      packs,
      store: once(async () => {
        const bytes = changeRecord(before, snapshot, where, delta);
        const isNew = await context.store.put(context.keys.record(snapshot.id), bytes, { onlyIfNew: true });
        if (isNew) return;
        // Another tree came to it by another way, and that is written down; where it can't be read, the next record is whole.
        const { history } = await readSnapshot(context.store, context.keys, snapshot.id).catch(() => ({ history: [] }));
        prepared.history = history;
      }),
    };
    return prepared;
  }
  const { bytes, packs } = await whole(context, of);
  // Where the store had everything, it most likely has the record too: another instance's, a colleague's.
  const known = located.size === 0 && Object.keys(where.data).length === 0;
  return {
    history: [snapshot.id],
    packs,
    store: once(async () => {
      if (!known || !(await isWhole(context, snapshot)))
        await context.store.put(context.keys.record(snapshot.id), bytes);
    }),
  };
}

function once(work: () => Promise<void>): () => Promise<void> {
  let storing: Promise<void> | undefined;
  return () => {
    storing ??= work();
    // Whoever asks first need not wait for it.
    storing.catch(() => undefined);
    return storing;
  };
}

/** Whether the store has a record of a snapshot that needs no other. */
async function isWhole({ store, keys }: SyncContext, { id }: Snapshot): Promise<boolean> {
  try {
    const bytes = await store.get(keys.record(id));
    return bytes !== null && recordNeeds(bytes).base === null;
  } catch {
    // Whoever writes it next says what is wrong.
    return false;
  }
}

/** Everything that a tree which lost its contents needs: where each is, or the small ones themselves. */
async function whole(
  { index, workspaceRoot }: SyncContext,
  { snapshot, recipes, where, located }: Recorded,
): Promise<{ bytes: Buffer; packs: Whereabouts['packs'] }> {
  const all: Whereabouts = { recipes: { ...where.recipes }, packs: [], data: { ...where.data } };
  const packs = new Map(where.packs);
  let data = Object.values(all.data).reduce((sum, text) => sum + text.length, 0);
  const inPack = (chunk: string) => {
    const pack = located.get(chunk) ?? index.find(chunk);
    if (pack) packs.set(pack.sha256, pack.size);
    return pack !== undefined;
  };
  const small = new Map<string, FileEntry>();
  for (const entry of snapshot.entries) {
    if (entry.kind !== 'file') continue;
    if (entry.size <= WHOLE) small.set(entry.sha256, entry);
    else {
      const recipe = recipes.get(entry.sha256);
      if (recipe) all.recipes[entry.sha256] = recipe;
      recipe?.forEach(([chunk]) => inPack(chunk));
    }
  }
  const absent = [...small.values()].filter(({ sha256 }) => !(sha256 in all.data) && !inPack(sha256));
  // What this machine knows of packs ends after some days; the store's indexes know more.
  if (absent.length) await index.refresh().catch(() => undefined);
  for (const entry of absent) if (!inPack(entry.sha256) && data < MOST_DATA) data += embed(all, entry, workspaceRoot);
  all.packs = [...packs];
  return { bytes: wholeRecord(snapshot, all), packs: all.packs };
}

/** A content that rode in a command, read again; one that changed meanwhile is left out, to be asked for when it is needed. */
function embed(all: Whereabouts, entry: FileEntry, workspaceRoot: string): number {
  try {
    const content = readVerified(workspaceRoot, entry.path, 0, [entry.sha256, entry.size]);
    all.data[entry.sha256] = deflateSync(content, { level: 9 }).toString('base64');
    return all.data[entry.sha256].length;
  } catch {
    return 0;
  }
}
