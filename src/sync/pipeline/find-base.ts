import type { Snapshot } from '../../snapshot/snapshot';
import type { SyncContext } from '../context';
import { isFresh, loadCachedHead, readHead, type Head } from '../manifest/head';

/**
 * What all of the instances hold, as this machine remembers it, else as the store does; null where they differ or
 * nothing is known of one: then everything is named. Where this machine has nothing to remember, the preflight runs and
 * the index of others' uploads is read at the same time.
 * @param onKnown called where this machine remembers it.
 */
export async function findBase(
  context: SyncContext,
  preflight: () => Promise<void>,
  onKnown?: (base: Head) => void,
): Promise<Head | null> {
  let heads = loadHeads(context);
  const isKnown = heads.every((head) => head && isFresh(head));
  if (!isKnown) {
    const reading = Promise.all(context.instances.map((instance) => readHead(context, instance)));
    reading.catch(() => undefined);
    // Not being able to list costs an upload, not the sync.
    const asking = context.index.refresh().catch(() => undefined);
    // Why the store can't be read is the preflight's to say, all of it in one go.
    await preflight();
    await asking;
    heads = await reading;
  }
  const base = commonHead(heads);
  if (base && isKnown) onKnown?.(base);
  return base;
}

function commonHead(heads: readonly (Head | null)[]): Head | null {
  const [first] = heads;
  return heads.every((each) => each && each.snapshot === first?.snapshot) ? first : null;
}

/** Whether this machine remembers what the instances hold. */
export function knowsBase(context: SyncContext): boolean {
  return loadHeads(context).every((head) => head && isFresh(head));
}

function loadHeads(context: SyncContext): (Head | null)[] {
  return context.instances.map((instance) => loadCachedHead(context, instance));
}

/** The base's snapshot; null where there is no base, or it can't be read. */
export function readBase(base: Head | null): Snapshot | null {
  try {
    return base?.read() ?? null;
  } catch {
    return null;
  }
}
