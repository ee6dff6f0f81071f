import type { Item } from './inventory';
import { findReachableRuns } from './runs';
import type { Limits, Reader } from './types';

/** What is needed: names below the store's base. */
export interface Reachable {
  names: Set<string>;
  runs: { kept: number; removed: number };
}

/**
 * The names of all that is needed: what is young; refs that are not stale, what they name; the newest manifests of their
 * projects; runs that are not old, the newest ones, and their code; and what all these manifests name in turn.
 * @param now ms since the epoch, by S3's clock.
 */
export async function markReachable(
  items: ReadonlyMap<string, Item>,
  limits: Limits,
  now: number,
  reader: Reader,
): Promise<Reachable> {
  const runs = await findReachableRuns(items.values(), limits, now, reader);
  const reachable = new Set([...runs.own, ...runs.manifests]);
  const manifests = new Map<string, Item[]>();
  const refs: Item[] = [];
  for (const item of items.values()) {
    const age = now - item.modified;
    if (item.kind === 'ref') {
      if (age < limits.refsOlderThan) refs.push(item);
    } else if (item.kind !== 'run' && item.kind !== 'key' && (item.kind === 'index' || age < limits.olderThan)) {
      reachable.add(item.name);
    }
    if (item.kind !== 'manifest') continue;
    const ofProject = manifests.get(item.project);
    if (ofProject) ofProject.push(item);
    else manifests.set(item.project, [item]);
  }
  for (const { name } of refs) reachable.add(name);
  for (const names of await reader.refs(refs))
    for (const name of [...names.manifests, names.runtime]) reachable.add(name);
  for (const project of new Set(refs.map((ref) => ref.project))) {
    const newest = (manifests.get(project) ?? []).sort((a, b) => b.modified - a.modified);
    for (const { name } of newest.slice(0, limits.keepSnapshots)) reachable.add(name);
  }
  let unread = [...reachable].flatMap((name) => items.get(name) ?? []).filter(({ kind }) => kind === 'manifest');
  while (unread.length) {
    const next: Item[] = [];
    await reader.manifests(unread, ({ base, packs }) => {
      // A forged manifest can name millions of packs: those that the store has count.
      for (const pack of packs) {
        const item = items.get(pack);
        if (item) reachable.add(item.name);
      }
      const item = base === null || reachable.has(base) ? undefined : items.get(base);
      if (!item) return;
      reachable.add(item.name);
      next.push(item);
    });
    unread = next;
  }
  return { names: reachable, runs: { kept: runs.kept, removed: runs.removed } };
}
