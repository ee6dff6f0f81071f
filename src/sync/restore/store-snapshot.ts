import { Problem } from '../../report/problem';
import type { Chunk } from '../../snapshot/chunk';
import { missingContents } from '../../snapshot/diff';
import type { Recipes } from '../../snapshot/recipes';
import { EMPTY_SNAPSHOT, type Snapshot } from '../../snapshot/snapshot';
import { packTransport } from '../transport/pack-transport';
import { fullManifest } from '../manifest/full-manifest';
import { FileMoved } from '../../snapshot/file-moved';
import type { SyncContext } from '../context';

/** What contents are put into the store with, where no instance is there to ask for what it lacks. */
export type StoreSnapshotContext = Pick<
  SyncContext,
  'workspaceRoot' | 'store' | 'keys' | 'printer' | 'index' | 'transferOptions' | 'signal'
>;

export interface StoredSnapshotContents {
  snapshot: Snapshot;
  /** Bytes that went to S3, and those of contents that were there. */
  uploaded: number;
  saved: number;
}

type Scan = () => Promise<{ snapshot: Snapshot; recipes: Recipes }>;

const MAX_ATTEMPTS = 4;
/** Packs that the store is asked for at once. */
const CONCURRENT_REQUESTS = 16;

/**
 * Puts a snapshot into the store as a full manifest, and every content of it into packs that were seen there: whoever
 * has the store, and nobody to ask, makes its tree of that.
 */
export async function storeSnapshot(context: StoreSnapshotContext, scan: Scan): Promise<StoredSnapshotContents> {
  for (let attempt = 1; ; attempt++) {
    const scanned = await scan();
    try {
      const done = await storeOnce(context, scanned);
      if (done) return done;
    } catch (error) {
      if (!(error instanceof FileMoved) || attempt === MAX_ATTEMPTS) throw error;
      context.printer.line('Files changed while they were sent; scanning again.');
      continue;
    }
    if (attempt === MAX_ATTEMPTS)
      throw new Problem('STORE_PUT', 'Packs that were written to the store are missing.', {
        next: 'Check whether another program deletes objects below the prefix.',
      });
  }
}

/** @returns null where a pack that was believed to be in the store is not. */
async function storeOnce(
  base: StoreSnapshotContext,
  { snapshot, recipes }: { snapshot: Snapshot; recipes: Recipes },
): Promise<StoredSnapshotContents | null> {
  // Nothing of a packed delivery looks at an instance.
  const context = {
    ...base,
    transferOptions: { ...base.transferOptions, inline: false },
    instances: [],
    tree: '',
    remote: undefined as unknown as SyncContext['remote'],
  };
  const missing = missingContents(EMPTY_SNAPSHOT, snapshot);
  const transfer = await packTransport.deliver(context, { wanted: snapshot, base: null, missing, recipes });
  const { where, packByChunk } = transfer;
  await transfer.sent;
  const sent = { snapshot, recipes, base: null, before: null, delta: null, where, packByChunk };
  const { bytes, packs } = await fullManifest(context, sent);
  if (!(await areThere(base, packs))) return null;
  await Promise.all([
    base.store.put(base.keys.manifest(snapshot.id), bytes),
    base.index
      .publish()
      .catch((error: Error) =>
        base.printer.warn(
          `could not publish the index of the uploaded packs, so other machines upload their content again: ${error.message}`,
        ),
      ),
  ]);
  return { snapshot, uploaded: transfer.uploaded(), saved: transfer.saved };
}

/** Whether packs are what their names say; those that are not are forgotten, so that their contents are sent again. */
async function areThere({ store, keys, index }: StoreSnapshotContext, packs: readonly Chunk[]): Promise<boolean> {
  const wrong = new Set<string>();
  const left = [...packs];
  const look = async () => {
    for (let pack = left.pop(); pack; pack = left.pop())
      if (!(await store.hasChecksum(keys.pack(pack[0]), ...pack))) wrong.add(pack[0]);
  };
  await Promise.all(Array.from({ length: CONCURRENT_REQUESTS }, look));
  if (wrong.size) index.forget(wrong);
  return wrong.size === 0;
}
