import type { Snapshot } from '../../snapshot/snapshot';
import { MIN_AGE_MS } from '../../store/pending-deletes';
import { readSnapshot } from './read-snapshot';
import { encodeDelta, LONGEST_HISTORY, MAX_RECORD_BYTES, recordNeeds, type ContentLocations } from './manifest';
import { fullManifest } from './full-manifest';
import type { Recorded } from './types';
import type { SyncContext } from '../context';

/** A snapshot's record on its way to the store. */
export interface PreparedRecord {
  history: string[];
  packs: ContentLocations['packs'];
  /** Sends it, once. */
  store(): Promise<void>;
}

/** What the next sync, of whoever, needs to know of this one: what it changes in the base's record, or the whole. */
export async function prepareRecord(context: SyncContext, of: Recorded): Promise<PreparedRecord> {
  const { base, before, snapshot, where, delta, packByChunk } = of;
  if (base && before && delta && base.history.length && base.history.length < LONGEST_HISTORY) {
    const packs = [...new Map([...base.packs, ...where.packs])];
    // What the tree held before has a record, which those that came after lead back to: it must not lead to them.
    const earlier = base.history.indexOf(snapshot.id);
    if (earlier >= 0) return { history: base.history.slice(0, earlier + 1), packs, store: async () => undefined };
    const prepared: PreparedRecord = {
      history: [...base.history, snapshot.id],
      packs,
      store: once(async () => {
        const bytes = encodeDelta(before, snapshot, where, delta);
        // Too large for a change: it is stored as a whole record.
        const isNew =
          bytes !== null && (await context.store.put(context.keys.record(snapshot.id), bytes, { onlyIfNew: true }));
        if (isNew) return;
        // Another tree came to it by another way. What that wrote may be about to be removed, and others may lead to it.
        const known = await readSnapshot(context.store, context.keys, snapshot.id).catch(() => undefined);
        const { bytes: all, packs } = await fullManifest(context, of, known);
        await context.store.put(context.keys.record(snapshot.id), all);
        Object.assign(prepared, { history: [snapshot.id], packs });
      }),
    };
    return prepared;
  }
  const { bytes, packs } = await fullManifest(context, of);
  // Where the store had everything, it most likely has the record too: another instance's, a colleague's.
  const known = packByChunk.size === 0 && Object.keys(where.inline).length === 0;
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

/** A record that is older, ms, may be about to be removed: it is written anew. */
const MAX_UNMARKED_AGE = MIN_AGE_MS - 24 * 3_600_000;

/** Whether the store has a record of a snapshot that needs no other, and stays. */
async function isWhole({ store, keys }: SyncContext, { id }: Snapshot): Promise<boolean> {
  try {
    const stored = await store.getWithETag(keys.record(id), MAX_RECORD_BYTES);
    if (!stored || recordNeeds(stored.bytes).base !== null) return false;
    return (await store.now()).getTime() - stored.modified < MAX_UNMARKED_AGE;
  } catch {
    // Whoever writes it next says what is wrong.
    return false;
  }
}
