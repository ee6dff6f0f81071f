import { deflateSync } from 'node:zlib';
import { WHOLE } from '../snapshot/chunk';
import type { FileEntry } from '../snapshot/entry';
import type { Recipes } from '../snapshot/recipes';
import type { Snapshot } from '../snapshot/snapshot';
import { rememberHead, storeHead, type Head } from './head';
import { readVerified } from './read-verified';
import { changeRecord, LONGEST_HISTORY, wholeRecord, type Whereabouts } from './record';
import type { SyncContext } from './strategy';

/** What an instance has acknowledged, and how it came there. */
export interface Acknowledged {
  snapshot: Snapshot;
  recipes: Recipes;
  base: Head | null;
  /** The base's snapshot. */
  before: Snapshot | null;
  where: Whereabouts;
}

/** Contents that are in no pack are at most so many bytes in a record. */
const MOST_DATA = 1024 * 1024;
/** A ref that nothing changes is written again after so long, ms: `prune` tells by its age that nobody uses the tree. */
const RENEWED = 24 * 3_600_000;

/**
 * After the command: remembers the head, here and in the store, tells others of the packs, removes what is of no more
 * use. Nothing of it can fail the sync. Never rejects.
 */
export async function acknowledge(
  context: SyncContext,
  of: { leftovers: string[] } & (Acknowledged | Partial<Record<keyof Acknowledged, undefined>>),
): Promise<void> {
  const { reporter, store, index } = context;
  await Promise.all([
    of.snapshot &&
      keepHead(context, of).catch((error: Error) =>
        reporter.warn(`the store does not know of this sync, so others' next one names everything: ${error.message}`),
      ),
    index.publish().catch((error: Error) => reporter.warn(`others can't use what was uploaded: ${error.message}`)),
    store
      .delete(of.leftovers)
      .catch((error: Error) =>
        reporter.warn(`what was sent is still in the store, until npx nx-ec2 prune: ${error.message}`),
      ),
  ]);
}

async function keepHead(context: SyncContext, of: Acknowledged): Promise<void> {
  const { snapshot, base, before, where } = of;
  const helper = context.remote.helper;
  if (base && before?.id === snapshot.id && base.history.length) {
    // Nothing new but, perhaps, that this machine knows it.
    const head = { ...base, helper };
    rememberHead(context, head, snapshot);
    if (base.helper === helper && Date.now() - base.written < RENEWED) return;
    await storeHead(context, head);
    rememberHead(context, { ...head, written: Date.now() }, snapshot);
    return;
  }
  const change = base && before && base.history.length && base.history.length < LONGEST_HISTORY;
  const record = change ? changeRecord(before, snapshot, where) : await whole(context, of);
  const bytes = Buffer.isBuffer(record) ? record : record.bytes;
  const packs = Buffer.isBuffer(record)
    ? [...new Map([...base!.packs, ...where.packs])].map(([sha256, size]): [string, number] => [sha256, size])
    : record.packs;
  const history = change ? [...base.history, snapshot.id] : [snapshot.id];
  const head = { snapshot: snapshot.id, history, packs, helper };
  await context.store.put(context.keys.record(snapshot.id), bytes);
  // The record first: whoever reads the head finds what it names.
  rememberHead(context, { ...head, written: Date.now() }, snapshot);
  await storeHead(context, head);
}

/** Everything that a tree which lost its contents needs: where each is, or the small ones themselves. */
async function whole(
  { index, workspaceRoot }: SyncContext,
  { snapshot, recipes, where }: Acknowledged,
): Promise<{ bytes: Buffer; packs: Whereabouts['packs'] }> {
  const all: Whereabouts = { recipes: { ...where.recipes }, packs: [], data: { ...where.data } };
  const packs = new Map(where.packs);
  let data = Object.values(all.data).reduce((sum, text) => sum + text.length, 0);
  const add = (chunk: string) => {
    const pack = index.find(chunk);
    if (pack) packs.set(pack.sha256, pack.size);
    return pack !== undefined;
  };
  const inPack = (chunk: string) => chunk in all.data || index.find(chunk) !== undefined;
  // What this machine knows of packs ends after some days; the store's indexes know more.
  if (snapshot.entries.some((entry) => entry.kind === 'file' && entry.size <= WHOLE && !inPack(entry.sha256)))
    await index.refresh().catch(() => undefined);
  const seen = new Set<string>();
  for (const entry of snapshot.entries) {
    if (entry.kind !== 'file' || seen.has(entry.sha256)) continue;
    seen.add(entry.sha256);
    if (entry.size > WHOLE) {
      const recipe = recipes.get(entry.sha256);
      if (recipe) all.recipes[entry.sha256] = recipe;
      recipe?.forEach(([chunk]) => add(chunk));
    } else if (!(entry.sha256 in all.data) && !add(entry.sha256) && data < MOST_DATA) {
      data += embed(all, entry, workspaceRoot);
    }
  }
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
