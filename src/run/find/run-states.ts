import type { RunState, RunStates } from '../../instance/inventory/expired';
import type { Inventory } from '../../instance/inventory/inventory';
import { readTags, type ReadTags } from '../../instance/describe/tags';
import { mapConcurrent } from '../../system/side-by-side';
import { storeBase, StoreKeys, storeNames } from '../../store/keys';
import type { Store } from '../../store/store';
import { isAllSaved } from '../record/all-saved';
import { awaitsReplacement } from '../record/interruption';
import { isUnreadable, listRunsSince, readRecord, type ReadRecord } from '../record/record';
import { RecordUnverified } from '../record/signed-record';
import { HEARTBEAT_TIMEOUT_MS } from '../record/liveness';
import { isRunId } from '../../schema/ids';

const CONCURRENCY = 16;
/** So many runs of a project are looked at, and of all projects. */
const MAX_RUNS = 500;
const MAX_RUNS_OF_ALL = 20_000;
/** So many projects are looked at, besides those that tags name: each of them is listed. */
const MAX_PROJECTS = 2_000;
/** Clocks of clients, which name runs, and of EC2 may differ so much, ms. */
const MAX_CLOCK_SKEW_MS = 3600_000;

/**
 * What the store knows of the runs that an inventory was made for, and of all that are on its instances, of whatever
 * project: an instance that was made for one run may have taken others since. Where there are more runs than are looked at,
 * any of the others may be on any instance: anybody who writes to the bucket can hide a run below forged ones.
 * @param prefix of the store in its bucket.
 */
export async function readRunStates(
  store: Store,
  prefix: string,
  { instances, fleets, templates }: Inventory,
): Promise<Omit<RunStates, 'says'>> {
  const here = `${store.bucket}/${prefix}`.replace(/\/+$/, '');
  const known = new Map<string, RunState>();
  const on = new Map<string, RunState[]>();
  const name = (project: string, run: string) => JSON.stringify([project, run]);
  // A name that a tag cuts short leads to no record.
  const ours = ({ store, project, run }: ReadTags): [string, string] | null =>
    store === here && project !== null && project.length < 256 && run !== null && isRunId(run) ? [project, run] : null;
  const look = async (project: string, run: string) => {
    if (known.has(name(project, run))) return;
    const { state, instance } = await runStateOf(store, new StoreKeys(prefix, project), run);
    known.set(name(project, run), state);
    if (instance === null) return;
    const states = on.get(instance);
    if (states) states.push(state);
    else on.set(instance, [state]);
  };
  const tagged = [...instances, ...fleets, ...templates].flatMap(({ tags }) => {
    const found = ours(readTags(tags));
    return found ? [found] : [];
  });
  await mapConcurrent(tagged, CONCURRENCY, ([project, run]) => look(project, run));
  const up = instances.filter(({ state, tags }) => state === 'running' && readTags(tags).store === here);
  if (up.length) {
    const first = idTime(Math.min(...up.map(({ since }) => since)) - MAX_CLOCK_SKEW_MS);
    // Whoever writes a run's record can make up as many runs and projects as they like.
    const runs: [string, string][] = [];
    const { names, isPartial: isCut } = await readProjects(store, prefix, new Set(tagged.map(([project]) => project)));
    let isPartial = isCut;
    await mapConcurrent(names, CONCURRENCY, async (project) => {
      if (runs.length > MAX_RUNS_OF_ALL) return;
      const listed = await listRunsSince(store, new StoreKeys(prefix, project), first, MAX_RUNS);
      isPartial ||= listed.isPartial;
      runs.push(...listed.runs.map((run): [string, string] => [project, run]));
    });
    isPartial ||= runs.length > MAX_RUNS_OF_ALL;
    const newest = runs.sort(([, one], [, other]) => (one < other ? 1 : -1)).slice(0, MAX_RUNS_OF_ALL);
    await mapConcurrent(newest, CONCURRENCY, ([project, run]) => look(project, run));
    if (isPartial) for (const { id } of up) on.set(id, [...(on.get(id) ?? []), { is: 'unreadable' }]);
  }
  return {
    tagged: (tags) => {
      const found = ours(tags);
      return found && (known.get(name(...found)) ?? null);
    },
    on: (instance) => on.get(instance) ?? [],
  };
}

async function runStateOf(
  store: Store,
  keys: StoreKeys,
  run: string,
): Promise<{ state: RunState; instance: string | null }> {
  let read: ReadRecord | null;
  try {
    read = await readRecord(store, keys, run);
  } catch (error) {
    // Anybody may have written what can't be verified: it can keep an instance, and ends none.
    const instance = error instanceof RecordUnverified ? error.instance : null;
    // An active run replaces its record every 10 s, whatever somebody else has written.
    const isOld = error instanceof RecordUnverified && error.age >= HEARTBEAT_TIMEOUT_MS;
    if (isUnreadable(error)) return { state: { is: isOld ? 'quiet' : 'unreadable' }, instance };
    throw error;
  }
  if (!read) return { state: { is: 'missing' }, instance: null };
  const { record, age, written } = read;
  const { instance } = record;
  if (record.state !== 'ended' || awaitsReplacement(record))
    return { state: { is: age < HEARTBEAT_TIMEOUT_MS ? 'active' : 'quiet' }, instance };
  const allSaved = isAllSaved(record);
  // The instance is kept for what could not be saved since it has found that out.
  const at = allSaved ? (record.endedAt ?? 0) : written;
  return { state: { is: 'ended', at, succeeded: record.outcome === 'succeeded', allSaved }, instance };
}

/** What ids of runs that were started then begin with. */
function idTime(at: number): string {
  return new Date(at).toISOString().replace(/[-:]/g, '').replace('T', '-').slice(0, 15);
}

/** The projects of a store: those that are named already, as by tags, and as many others as are looked at. */
export async function readProjects(
  store: Store,
  prefix: string,
  named: ReadonlySet<string> = new Set(),
): Promise<{ names: string[]; isPartial: boolean }> {
  const { names, isPartial } = await store.listFirstDirectories(storeBase(prefix) + storeNames.projects, MAX_PROJECTS);
  const decoded = names.flatMap((name) => {
    try {
      return [decodeURIComponent(name)];
    } catch {
      return [];
    }
  });
  return { names: [...new Set([...named, ...decoded])], isPartial };
}
