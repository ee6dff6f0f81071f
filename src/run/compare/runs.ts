import { Problem } from '../../report/problem';
import type { StoreKeys } from '../../store/keys';
import { UnusableObject } from '../../store/objects/unusable';
import type { Store } from '../../store/store';
import type { RunRecord } from '../record/record';
import { readArtifactList, type StoredFile } from '../record/file-lists';
import { compareCode, type CodeDifference } from './code';
import { compareValues, type Change } from './values';

/** A run, and the store that it is in. */
export interface RunInStore {
  store: Store;
  keys: StoreKeys;
  record: RunRecord;
}

export interface RunDifference {
  before: string;
  after: string;
  code: CodeDifference;
  git: Change[];
  /** The command line, and the keys of the configuration that decide a result. */
  configuration: Change[];
  /** By source and path: the versions. */
  data: Change[];
  /** How it went: outcome, exit code, duration (ms), attempts, instance, checkpoints. */
  course: Change[];
  /** The latest values of each metric. */
  metrics: { name: string; before: number | null; after: number | null; difference: number | null }[];
  artifacts: {
    added: ArtifactChange[];
    removed: ArtifactChange[];
    changed: ArtifactChange[];
    same: number;
    trouble: string | null;
  };
}

/** Sizes are bytes. */
export interface ArtifactChange {
  path: string;
  before: { size: number; sha256: string } | null;
  after: { size: number; sha256: string } | null;
}

/** What differs between two runs, of whatever age, as far as the store can tell. */
export async function compareRuns(
  before: RunInStore,
  after: RunInStore,
  warn: (text: string) => void,
): Promise<RunDifference> {
  const [a, b] = [before.record, after.record];
  const code = ({ store, keys, record }: RunInStore) => ({ store, keys, snapshot: record.snapshot });
  const [compared, artifacts] = await Promise.all([
    compareCode(code(before), code(after), warn),
    compareArtifacts(before, after),
  ]);
  return {
    before: a.id,
    after: b.id,
    code: compared,
    git: compareValues(a.metadata.git ?? {}, b.metadata.git ?? {}),
    configuration: compareValues(settings(a), settings(b)),
    data: compareValues(versions(a), versions(b)),
    course: compareValues(course(a), course(b)),
    metrics: compareMetrics(a.metrics.training, b.metrics.training),
    artifacts,
  };
}

function settings({ metadata: { command, configuration } }: RunRecord): Record<string, unknown> {
  // What an instance costs decides no result.
  const { pricePerHour: _, ...rest } = configuration;
  return { ...rest, commandLine: command };
}

function versions({ datasets: data }: RunRecord): Record<string, string> {
  return Object.fromEntries(data.map(({ source, path, version }) => [`${source} at ${path}`, version]));
}

function course(record: RunRecord): Record<string, unknown> {
  const { outcome, state, exitCode, signal, attempt, instance, startedAt, endedAt, checkpoints } = record;
  return {
    outcome: outcome ?? state,
    exitCode,
    signal,
    attempts: attempt,
    instance,
    duration: startedAt !== null && endedAt !== null ? endedAt - startedAt : null,
    checkpoints: checkpoints.length,
  };
}

function compareMetrics(
  before: Record<string, number | null>,
  after: Record<string, number | null>,
): RunDifference['metrics'] {
  const value = (of: Record<string, number | null>, name: string) => (Object.hasOwn(of, name) ? of[name] : null);
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].map((name) => {
    const [a, b] = [value(before, name), value(after, name)];
    return { name, before: a, after: b, difference: a === null || b === null ? null : b - a };
  });
}

async function compareArtifacts(before: RunInStore, after: RunInStore): Promise<RunDifference['artifacts']> {
  const lists = await Promise.all(
    [before, after].map(({ store, keys, record }) =>
      readArtifactList(store, keys, record).catch((error: unknown) => {
        if (error instanceof UnusableObject) return error;
        if (error instanceof Problem && error.code === 'LIST_MISMATCH') return error;
        throw error;
      }),
    ),
  );
  const failed = lists.find((each) => each instanceof Problem);
  if (failed) return { added: [], removed: [], changed: [], same: 0, trouble: failed.message };
  const [old, now] = lists.map(
    (list) => new Map((list && 'files' in list ? list.files : []).map((file) => [file.path, file])),
  );
  const said = (file: StoredFile | undefined) => (file ? { size: file.size, sha256: file.sha256 } : null);
  const all = [...new Set([...old.keys(), ...now.keys()])]
    .sort()
    .map((path) => ({ path, before: said(old.get(path)), after: said(now.get(path)) }));
  return {
    added: all.filter((each) => !each.before),
    removed: all.filter((each) => !each.after),
    changed: all.filter((each) => each.before && each.after && each.before.sha256 !== each.after.sha256),
    same: all.filter((each) => each.before?.sha256 === each.after?.sha256).length,
    trouble: null,
  };
}
