import type { Snapshot } from '../../snapshot/snapshot';
import { MIN_AGE_MS } from '../../store/pending-deletes';
import { readSnapshot } from './read-snapshot';
import { encodeDelta, MAX_HISTORY, MAX_MANIFEST_BYTES, manifestNeeds, type ContentLocations } from './manifest';
import { fullManifest } from './full-manifest';
import type { SentSnapshot } from './types';
import type { SyncContext } from '../context';

/** The manifest of a snapshot before it is stored. */
export interface PreparedManifest {
  history: string[];
  packs: ContentLocations['packs'];
  /** Stores it; a second call does nothing more. */
  store(): Promise<void>;
}

/** Makes the manifest of a snapshot: the change from the base's, or a full one. */
export async function prepareManifest(context: SyncContext, of: SentSnapshot): Promise<PreparedManifest> {
  const { base, before, snapshot, where, delta, packByChunk } = of;
  if (base && before && delta && base.history.length && base.history.length < MAX_HISTORY) {
    const packs = [...new Map([...base.packs, ...where.packs])];
    // The tree goes back to an earlier snapshot. Later manifests are based on its manifest, which must not be based on them.
    const earlier = base.history.indexOf(snapshot.id);
    if (earlier >= 0) return { history: base.history.slice(0, earlier + 1), packs, store: async () => undefined };
    const prepared: PreparedManifest = {
      history: [...base.history, snapshot.id],
      packs,
      store: once(async () => {
        const bytes = encodeDelta(before, snapshot, where, delta);
        // A change that is too large is stored as a full manifest.
        const isNew =
          bytes !== null && (await context.store.put(context.keys.manifest(snapshot.id), bytes, { onlyIfNew: true }));
        if (isNew) return;
        // Another tree has stored a manifest of this snapshot. It may be about to be pruned, and others may be based on it.
        const known = await readSnapshot(context.store, context.keys, snapshot.id).catch(() => undefined);
        const { bytes: all, packs } = await fullManifest(context, of, known);
        await context.store.put(context.keys.manifest(snapshot.id), all);
        Object.assign(prepared, { history: [snapshot.id], packs });
      }),
    };
    return prepared;
  }
  const { bytes, packs } = await fullManifest(context, of);
  // If the store had all contents, it probably has the manifest too, from another instance or user.
  const known = packByChunk.size === 0 && Object.keys(where.inline).length === 0;
  return {
    history: [snapshot.id],
    packs,
    store: once(async () => {
      if (!known || !(await isWhole(context, snapshot)))
        await context.store.put(context.keys.manifest(snapshot.id), bytes);
    }),
  };
}

function once(work: () => Promise<void>): () => Promise<void> {
  let storing: Promise<void> | undefined;
  return () => {
    storing ??= work();
    // The first caller may not wait for it.
    storing.catch(() => undefined);
    return storing;
  };
}

/** A manifest older than this, ms, may be about to be pruned: it is written again. */
const MAX_UNMARKED_AGE = MIN_AGE_MS - 24 * 3_600_000;

/** Whether the store has a full manifest of a snapshot that a prune keeps. */
async function isWhole({ store, keys }: SyncContext, { id }: Snapshot): Promise<boolean> {
  try {
    const stored = await store.getWithETag(keys.manifest(id), MAX_MANIFEST_BYTES);
    if (!stored || manifestNeeds(stored.bytes).base !== null) return false;
    return (await store.now()).getTime() - stored.modified < MAX_UNMARKED_AGE;
  } catch {
    // The write that follows reports what is wrong.
    return false;
  }
}
