import type { Fate, Fates } from '../instance/overdue';
import type { Inventory } from '../instance/inventory';
import { readTags, type ReadTags } from '../instance/tags';
import { sideBySide } from '../prune/side-by-side';
import { storeBase, StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import { STALE } from './follow';
import { isAwaited } from './interruption';
import { isRunId, isUnreadable, listRuns, readRecord, type ReadRecord } from './record';
import { RecordUnverified } from './signed-record';

const AT_ONCE = 16;
/** So many of the newest runs of a project are looked at. */
const LOOKED_AT = 500;
/** A store has so many projects at the most. */
const MAX_PROJECTS = 100_000;
/** Clocks of clients, which name runs, and of EC2 may differ so much, ms. */
const SKEW = 3600_000;

/**
 * What the store knows of the runs that an inventory was made for, and of all that are on its instances, of whatever
 * project: an instance that was made for one run may have taken others since.
 * @param prefix of the store in its bucket.
 */
export async function readFates(
  store: Store,
  prefix: string,
  { instances, fleets, templates }: Inventory,
): Promise<Omit<Fates, 'isIdle'>> {
  const here = `${store.bucket}/${prefix}`.replace(/\/+$/, '');
  const known = new Map<string, Fate>();
  const on = new Map<string, Fate[]>();
  const name = (project: string, run: string) => JSON.stringify([project, run]);
  // A name that a tag cuts short leads to no record.
  const ours = ({ store, project, run }: ReadTags): [string, string] | null =>
    store === here && project !== null && project.length < 256 && run !== null && isRunId(run) ? [project, run] : null;
  const look = async (project: string, run: string) => {
    if (known.has(name(project, run))) return;
    const { fate, instance } = await fateOf(store, new StoreKeys(prefix, project), run);
    known.set(name(project, run), fate);
    if (instance !== null) on.set(instance, [...(on.get(instance) ?? []), fate]);
  };
  const tagged = [...instances, ...fleets, ...templates].flatMap(({ tags }) => {
    const found = ours(readTags(tags));
    return found ? [found] : [];
  });
  await sideBySide(tagged, AT_ONCE, ([project, run]) => look(project, run));
  const up = instances.filter(({ state, tags }) => state === 'running' && readTags(tags).store === here);
  if (up.length) {
    const first = idTime(Math.min(...up.map(({ since }) => since)) - SKEW);
    for (const project of await projects(store, prefix)) {
      const runs = await listRuns(store, new StoreKeys(prefix, project));
      const since = runs.filter((run) => run >= first).slice(0, LOOKED_AT);
      await sideBySide(since, AT_ONCE, (run) => look(project, run));
    }
  }
  return {
    tagged: (tags) => {
      const found = ours(tags);
      return found && (known.get(name(...found)) ?? null);
    },
    on: (instance) => on.get(instance) ?? [],
  };
}

async function fateOf(store: Store, keys: StoreKeys, run: string): Promise<{ fate: Fate; instance: string | null }> {
  let read: ReadRecord | null;
  try {
    read = await readRecord(store, keys, run);
  } catch (error) {
    // Anybody may have written what can't be verified: it keeps an instance, and ends none.
    const instance = error instanceof RecordUnverified ? error.instance : null;
    if (isUnreadable(error)) return { fate: { is: 'unreadable' }, instance };
    throw error;
  }
  if (!read) return { fate: { is: 'missing' }, instance: null };
  const { record, age } = read;
  const { instance } = record;
  if (record.state !== 'ended' || isAwaited(record))
    return { fate: { is: age < STALE ? 'goes on' : 'quiet' }, instance };
  return { fate: { is: 'ended', at: record.endedAt ?? 0, succeeded: record.outcome === 'succeeded' }, instance };
}

/** What ids of runs that were started then begin with. */
function idTime(at: number): string {
  return new Date(at).toISOString().replace(/[-:]/g, '').replace('T', '-').slice(0, 15);
}

/** What is not a project's below the store's base has no runs. */
async function projects(store: Store, prefix: string): Promise<string[]> {
  const names = await store.prefixes(storeBase(prefix), MAX_PROJECTS);
  return names.flatMap((name) => {
    try {
      return ['p', 'x', 'helper'].includes(name) ? [] : [decodeURIComponent(name)];
    } catch {
      return [];
    }
  });
}
