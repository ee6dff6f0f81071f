import type { Item } from './inventory';
import type { RunNeeds } from './run-lists';
import { findNeededRuns } from './runs';

/** How long, ms, and how much is kept. */
export interface Limits {
  /** What is younger is needed, whoever names it. */
  olderThan: number;
  /** A ref that was not written for so long keeps nothing. */
  refsOlderThan: number;
  /** So many records, the newest, of each project that has a ref which is not stale. */
  keepRecords: number;
  /** A run that nothing was written of for so long goes, with all that is its own. */
  runsOlderThan: number;
  /** So many runs, the newest, of each project stay. */
  keepRuns: number;
}

/** What a ref names, below `v1/`. */
export interface RefNeeds {
  records: string[];
  helper: string;
}

/** What a record names, below `v1/`. */
export interface RecordNeeds {
  base: string | null;
  packs: string[];
}

/** All leave out what is gone or damaged, and so names nothing. */
export interface Reader {
  refs(items: Item[]): Promise<RefNeeds[]>;
  records(items: Item[]): Promise<RecordNeeds[]>;
  /** Of runs' records, by their names. */
  runs(items: Item[]): Promise<Map<string, RunNeeds>>;
  /** The run that each of these keys names, by the key's name. */
  keys(items: Item[]): Promise<Map<string, string>>;
  /** The parts that lists of artifacts and checkpoints name; null where one of them can't be read. */
  parts(items: Item[]): Promise<Set<string> | null>;
}

/** What is needed: names below `v1/`. */
export interface Needed {
  names: Set<string>;
  runs: { kept: number; removed: number };
}

/**
 * The names of all that is needed: what is young; refs that are not stale, what they name; the newest records of their
 * projects; runs that are not old, the newest ones, and their code; and what all these records name in turn.
 * @param now ms since the epoch, by S3's clock.
 */
export async function findNeeded(
  items: ReadonlyMap<string, Item>,
  limits: Limits,
  now: number,
  reader: Reader,
): Promise<Needed> {
  const runs = await findNeededRuns(items.values(), limits, now, reader);
  const needed = new Set([...runs.own, ...runs.records]);
  const records = new Map<string, Item[]>();
  const refs: Item[] = [];
  for (const item of items.values()) {
    const age = now - item.modified;
    if (item.kind === 'ref') {
      if (age < limits.refsOlderThan) refs.push(item);
    } else if (item.kind !== 'run' && item.kind !== 'key' && (item.kind === 'index' || age < limits.olderThan)) {
      needed.add(item.name);
    }
    if (item.kind !== 'record') continue;
    const ofProject = records.get(item.project);
    if (ofProject) ofProject.push(item);
    else records.set(item.project, [item]);
  }
  for (const { name } of refs) needed.add(name);
  for (const names of await reader.refs(refs)) for (const name of [...names.records, names.helper]) needed.add(name);
  for (const project of new Set(refs.map((ref) => ref.project))) {
    const newest = (records.get(project) ?? []).sort((a, b) => b.modified - a.modified);
    for (const { name } of newest.slice(0, limits.keepRecords)) needed.add(name);
  }
  let unread = [...needed].flatMap((name) => items.get(name) ?? []).filter(({ kind }) => kind === 'record');
  while (unread.length) {
    const read = await reader.records(unread);
    unread = [];
    for (const { base, packs } of read) {
      for (const pack of packs) needed.add(pack);
      if (base === null || needed.has(base)) continue;
      needed.add(base);
      const item = items.get(base);
      if (item) unread.push(item);
    }
  }
  return { names: needed, runs: { kept: runs.kept, removed: runs.removed } };
}
