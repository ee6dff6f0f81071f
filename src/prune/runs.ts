import type { Item } from './inventory';
import type { Limits, Reader } from './needed';

/** Of a run that is kept, what it names no more goes when it, and the run's record, are older than this, ms. */
const SETTLED = 24 * 3_600_000;

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

/** What runs need, by names below `v1/`. */
export interface NeededRuns {
  /** Of the runs' own objects, and keys. */
  own: Set<string>;
  /** Snapshots' records: the code of the runs that are kept. */
  records: string[];
  /** How many runs are kept, and how many go. */
  kept: number;
  removed: number;
}

/**
 * Runs that something was written of lately, and the newest of each project; of those, what they name; keys that lead
 * to one. What a run's record does not tell, because it is damaged or not there, is needed.
 */
export async function findNeededRuns(
  items: Iterable<Item>,
  limits: Limits,
  now: number,
  reader: Reader,
): Promise<NeededRuns> {
  const all = [...items];
  const runs = groupRuns(all);
  const kept = keptRuns(runs, limits, now);
  let records = await readRecords(kept, reader);
  // The run whose checkpoint another one was started from, as long as that one has none of its own or may begin anew.
  const origins = [...records].flatMap(([run, read]) =>
    read.ended && read.checkpoints.length ? [] : (runs.get(nameOf(run.project, read.restored ?? '')) ?? []),
  );
  for (const run of origins) kept.add(run);
  records = new Map([...records, ...(await readRecords(new Set(origins), reader))]);

  const own = new Set<string>();
  const settled: Run[] = [];
  for (const run of kept) {
    for (const { name } of run.items) own.add(name);
    if (records.get(run)?.ended && now - run.record!.modified >= SETTLED) settled.push(run);
  }
  for (const run of settled)
    for (const name of await superseded(run, records.get(run)!.checkpoints, now, reader)) own.delete(name);
  const keys = all.filter(({ kind }) => kind === 'key');
  const old = keys.filter(({ modified }) => now - modified >= limits.olderThan);
  for (const { name } of keys) own.add(name);
  const led = await reader.keys(old);
  for (const { name, project } of old) {
    const run = led.get(name);
    if (run === undefined || !kept.has(runs.get(nameOf(project, run))!)) own.delete(name);
  }
  return {
    own,
    records: [...records].map(([{ project }, { snapshot }]) => `${project}/m/${snapshot}`),
    kept: kept.size,
    removed: runs.size - kept.size,
  };
}

function nameOf(project: string, id: string): string {
  return `${project}/run/${id}`;
}

function groupRuns(items: readonly Item[]): Map<string, Run> {
  const runs = new Map<string, Run>();
  for (const item of items) {
    if (item.kind !== 'run') continue;
    const { project, run: id, name, modified } = item;
    const key = nameOf(project, id);
    const run = runs.get(key) ?? { project, id, record: undefined, items: [], latest: 0 };
    runs.set(key, run);
    run.items.push(item);
    run.latest = Math.max(run.latest, modified);
    if (name === `${key}/record.json`) run.record = item;
  }
  return runs;
}

function keptRuns(runs: ReadonlyMap<string, Run>, limits: Limits, now: number): Set<Run> {
  const kept = new Set<Run>();
  const ofProject = new Map<string, Run[]>();
  for (const run of runs.values()) {
    if (now - run.latest < limits.runsOlderThan) kept.add(run);
    // What has no record, or no run's name, is a run that never was.
    if (run.record && RUN.test(run.id)) ofProject.set(run.project, [...(ofProject.get(run.project) ?? []), run]);
  }
  for (const own of ofProject.values()) {
    const newest = own.sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, limits.keepRuns);
    for (const run of newest) kept.add(run);
  }
  return kept;
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
async function superseded(run: Run, checkpoints: number[], now: number, reader: Reader): Promise<string[]> {
  const base = `${nameOf(run.project, run.id)}/`;
  const named = new Set(checkpoints.map((n) => `${base}checkpoint/${n}.json`));
  const old = run.items.filter(({ modified }) => now - modified >= SETTLED);
  const left = old.filter(
    ({ name }) => /^checkpoint\/[1-9]\d*\.json$/.test(name.slice(base.length)) && !named.has(name),
  );
  const parts = old.filter(({ name }) => /^part\/[0-9a-f]{64}$/.test(name.slice(base.length)));
  if (!left.length && !parts.length) return [];
  const lists = run.items.filter(({ name }) => named.has(name) || name === `${base}artifacts.json`);
  const needed = await reader.parts(lists);
  if (needed === null || lists.filter(({ name }) => named.has(name)).length < named.size) return [];
  return [...left, ...parts.filter(({ name }) => !needed.has(name.slice(base.length + 5)))].map(({ name }) => name);
}
