import type { StoreKeys } from '../../store/keys';
import { UnusableObject } from '../../store/objects/unusable';
import type { Store } from '../../store/store';
import { formatDuration } from '../../report/units';
import { Problem } from '../../report/problem';
import { readArtifactList } from '../record/file-lists';
import type { RunRecord } from '../record/record';
import { describeCost } from '../status/cost';
import { describeOutcome } from '../status/outcome';
import { readMetrics, type RunMetrics } from '../metrics/read-metrics';

/** A run as a report shows it. */
export interface ReportedRun {
  record: RunRecord;
  metrics: RunMetrics;
  /** null: none was saved. Sizes are bytes. */
  artifacts: { files: { path: string; size: number }[]; trouble: string | null } | null;
}

/** Reads all that a report shows of a run. */
export async function readReportedRun(store: Store, keys: StoreKeys, record: RunRecord): Promise<ReportedRun> {
  const [metrics, artifacts] = await Promise.all([
    readMetrics(store, keys, record),
    readArtifacts(store, keys, record),
  ]);
  return { record, metrics, artifacts };
}

async function readArtifacts(store: Store, keys: StoreKeys, record: RunRecord): Promise<ReportedRun['artifacts']> {
  try {
    const list = await readArtifactList(store, keys, record);
    return list && { files: list.files.map(({ path, size }) => ({ path, size })), trouble: null };
  } catch (error) {
    const isDamaged = error instanceof UnusableObject || (error instanceof Problem && error.code === 'LIST_MISMATCH');
    if (!isDamaged) throw error;
    return { files: [], trouble: error.message };
  }
}

/** The facts of runs, by their titles: one value for each run, undefined where it has none. */
export function factRows(runs: readonly ReportedRun[]): [title: string, values: (string | undefined)[]][] {
  const facts = runs.map((run) => new Map(factsOf(run)));
  const titles = new Set(facts.flatMap((each) => [...each.keys()]));
  return [...titles].map((title) => [title, facts.map((each) => each.get(title))]);
}

function factsOf({ record }: ReportedRun): [title: string, value: string][] {
  const { metadata, startedAt, endedAt, attempts, attempt, node, instance, checkpoints, datasets } = record;
  const { git } = metadata;
  const facts: [string, string | null][] = [
    ['Outcome', record.state === 'ended' ? describeOutcome(record) : record.state],
    ['Started', startedAt === null ? null : `${new Date(startedAt).toISOString().slice(0, 19).replace('T', ' ')} UTC`],
    ['Duration', startedAt === null || endedAt === null ? null : formatDuration(endedAt - startedAt)],
    ['Cost', describeCost(record)],
    ['Instance', node && node.count > 1 ? `${instance} and ${node.count - 1} more` : instance],
    ['Attempts', attempts.length > 1 ? String(attempt) : null],
    ['Checkpoints', checkpoints.length ? String(checkpoints.length) : null],
    ['Commit', git && `${git.commit.slice(0, 12)}${git.dirty ? ', with changes' : ''}`],
    ['Command', metadata.command],
    ['Data', datasets.map(({ source, version }) => `${source} ${version}`).join(', ') || null],
  ];
  return facts.filter((each): each is [string, string] => Boolean(each[1]));
}

/** The names of the metrics that any of the runs has, each once. */
export function metricNames(runs: readonly ReportedRun[]): string[] {
  return [...new Set(runs.flatMap(({ metrics }) => [...metrics.training.keys()]))];
}
