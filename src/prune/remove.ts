import { Problem } from '../report/problem';
import type { Store } from '../store/store';
import type { Item } from './inventory';

/** An object that was listed longer ago, ms, is not removed: a machine that has slept must not act on an old listing. */
const MAX_LISTING_AGE_MS = 60_000;

/**
 * Removes objects, up to 1,000 at a time. They are listed again just before, and what has been written since it was
 * judged is spared.
 * @param options.check called before each batch; throws where it is not to be removed.
 */
export async function remove(
  store: Store,
  base: string,
  deletable: ReadonlyMap<string, Item>,
  options: { check: () => Promise<void>; onRemoved: (count: number) => void; now?: () => number },
): Promise<void> {
  if (!deletable.size) return;
  const now = options.now ?? Date.now;
  const last = [...deletable.keys()].reduce((a, b) => (Buffer.compare(Buffer.from(a), Buffer.from(b)) > 0 ? a : b));
  let removed = 0;
  const pages = store.pages(base);
  for (;;) {
    const asked = now();
    const { value: page, done } = await pages.next();
    if (done) return;
    const keys = page
      .filter(({ key, modified }) => deletable.get(key.slice(base.length))?.modified === modified)
      .map(({ key }) => key);
    if (keys.length) {
      await options.check();
      if (now() - asked > MAX_LISTING_AGE_MS)
        throw new Problem('PRUNE_STALLED', 'This machine was suspended while the store was being pruned.', {
          next: 'Run prune again to continue.',
        });
      await store.delete(keys);
      options.onRemoved((removed += keys.length));
    }
    const end = page.at(-1)?.key.slice(base.length) ?? '';
    if (Buffer.compare(Buffer.from(end), Buffer.from(last)) >= 0) return;
  }
}
