import { storeNames } from '../store/keys';
import type { Item } from './inventory';
import type { RunNeeds } from './run-lists';
import type { Limits, Reader } from './types';

/** Of a run that is kept, what it names no more goes when it, and the run's record, are older than this, ms. */
const MIN_AGE_OF_RUN_FILES_MS = 24 * 3_600_000;

/** A run's id begins with its time. */
const RUN = /^\d{8}-\d{6}-/;

/** A run, and all that is its own. */
interface Run {
  project: string;
  id: string;
  record: Item | undefined;
  items: Item[];
  /** When something of it was written last, ms. */
  latest: number;
}

/** What runs need, by names below the store's base. */
export interface ReachableRuns {
  /** Of the runs' own objects, and keys. */
  own: Set<string>;
  /** The manifests of their snapshots: the code of the runs that are kept. */
  manifests: string[];
  /** How many runs are kept, and how many go. */
  kept: number;
  removed: number;
}

/**
 * Runs that something was written of lately, and the newest of each project; of those, what they name; keys that lead
 * to one. What a run's record does not tell, because it is damaged or not there, is needed.
 */
export async function findReachableRuns(
  items: Iterable<Item>,
  limits: Limits,
  now: number,
  reader: Reader,
): Promise<ReachableRuns> {
  const all = [...items];
  const runs = groupRuns(all);
  const kept = new Set([...runs.values()].filter(({ latest }) => now - latest < limits.runsOlderThan));
  let records = await readRecords(kept, reader);
  for (const own of byProject(runs)) {
    for (const [run, needs] of await newestOf(own, records, limits.keepRuns, reader)) {
      kept.add(run);
      if (needs) records.set(run, needs);
    }
  }
  // The run whose checkpoint another one was started from, as long as that run has no checkpoint of its own or may start again.
  const origins = [...records].flatMap(([run, read]) =>
    read.ended && read.checkpoints.length ? [] : (runs.get(storeNames.run(run.project, read.restoredFrom ?? '')) ?? []),
  );
  for (const run of origins) kept.add(run);
  records = new Map([...records, ...(await readRecords(new Set(origins), reader))]);

  const own = new Set<string>();
  const settled: Run[] = [];
  for (const run of kept) {
    for (const { name } of run.items) own.add(name);
    if (records.get(run)?.ended && now - run.record!.modified >= MIN_AGE_OF_RUN_FILES_MS) settled.push(run);
  }
  for (const run of settled) for (const name of await superseded(run, records.get(run)!, now, reader)) own.delete(name);
  const keys = all.filter(({ kind }) => kind === 'key');
  const old = keys.filter(({ modified }) => now - modified >= limits.olderThan);
  for (const { name } of keys) own.add(name);
  const led = await reader.keys(old);
  for (const { name, project } of old) {
    const named = led.get(name) ?? [];
    if (!named.some((run) => kept.has(runs.get(storeNames.run(project, run))!))) own.delete(name);
  }
  return {
    own,
    manifests: [...records].map(([{ project }, { snapshot }]) => storeNames.manifest(project, snapshot)),
    kept: kept.size,
    removed: runs.size - kept.size,
  };
}

function groupRuns(items: readonly Item[]): Map<string, Run> {
  const runs = new Map<string, Run>();
  for (const item of items) {
    if (item.kind !== 'run') continue;
    const { project, run: id, name, modified } = item;
    const key = storeNames.run(project, id);
    const run = runs.get(key) ?? { project, id, record: undefined, items: [], latest: 0 };
    runs.set(key, run);
    run.items.push(item);
    run.latest = Math.max(run.latest, modified);
    if (name === `${key}record.json`) run.record = item;
  }
  return runs;
}

/** The runs of each project, the newest first. What has no record, or no run's name, is a run that never was. */
function byProject(runs: ReadonlyMap<string, Run>): Run[][] {
  const ofProject = new Map<string, Run[]>();
  for (const run of runs.values()) {
    if (!run.record || !RUN.test(run.id)) continue;
    const own = ofProject.get(run.project);
    if (own) own.push(run);
    else ofProject.set(run.project, [run]);
  }
  return [...ofProject.values()].map((own) => own.sort((a, b) => (a.id < b.id ? 1 : -1)));
}

/**
 * So many of a project's newest runs whose record can be verified, and of the others that are newer than the last of these, so
 * many as well. Anybody who writes to the bucket could push all runs out otherwise, by records under newer ids.
 * @param own the newest first. @param known records that were read before. @returns them with their records; undefined: unreadable.
 */
async function newestOf(own: readonly Run[], known: ReadonlyMap<Run, RunNeeds>, count: number, reader: Reader) {
  const verified: [Run, RunNeeds | undefined][] = [];
  const others: typeof verified = [];
  for (let from = 0, size = count; verified.length < count && from < own.length; from += size, size *= 2) {
    const next = own.slice(from, from + size);
    const read = await readRecords(new Set(next.filter((run) => !known.has(run))), reader);
    for (const run of next) {
      const needs = known.get(run) ?? read.get(run);
      const same = needs?.isVerified ? verified : others;
      if (verified.length < count && same.length < count) same.push([run, needs]);
    }
  }
  return [...verified, ...others];
}

async function readRecords(runs: ReadonlySet<Run>, reader: Reader) {
  const own = [...runs].flatMap(({ record }) => record ?? []);
  const read = await reader.runs(own);
  return new Map(
    [...runs].flatMap((run) => {
      const needs = run.record && read.get(run.record.name);
      return needs ? [[run, needs] as const] : [];
    }),
  );
}

/**
 * Checkpoints that a run which has ended does not name any more, and parts that neither its artifacts nor its
 * checkpoints need. Where one of these lists can't be read, nothing is.
 */
async function superseded(
  run: Run,
  { checkpoints, lists: hashes }: RunNeeds,
  now: number,
  reader: Reader,
): Promise<string[]> {
  const base = storeNames.run(run.project, run.id);
  const named = new Set(checkpoints.map((n) => `${base}checkpoint/${n}.json`));
  const old = run.items.filter(({ modified }) => now - modified >= MIN_AGE_OF_RUN_FILES_MS);
  const left = old.filter(
    ({ name }) => /^checkpoint\/[1-9]\d*\.json$/.test(name.slice(base.length)) && !named.has(name),
  );
  const parts = old.filter(({ name }) => /^part\/[0-9a-f]{64}$/.test(name.slice(base.length)));
  if (!left.length && !parts.length) return [];
  const lists = run.items.filter(({ name }) => named.has(name) || name === `${base}artifacts.json`);
  const reachable = await reader.parts(lists, new Map([...hashes].map(([name, hash]) => [base + name, hash])));
  if (reachable === null || lists.filter(({ name }) => named.has(name)).length < named.size) return [];
  return [...left, ...parts.filter(({ name }) => !reachable.has(name.slice(base.length + 5)))].map(({ name }) => name);
}
