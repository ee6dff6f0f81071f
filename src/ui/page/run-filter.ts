import type { RunRow } from '../api';
import { isRow, keyOf, type KnownRow, type ListedRun } from './rows';

export interface Filter {
  text: string;
  /** '' for any. */
  state: string;
}

export type SortKey = 'time' | 'state' | 'by' | 'duration' | 'cost' | 'metric';

export interface Sort {
  by: SortKey;
  down: boolean;
}

export const STATES = ['active', 'succeeded', 'failed', 'cancelled', 'interrupted', 'other'];

/** Whether a row is one of those that are looked for. Of a run that can't be read, only its id and project are known. */
export function matches(run: ListedRun, row: KnownRow, { text, state }: Filter): boolean {
  if (row === 'gone') return false;
  const kind = isRow(row) ? kindOf(row) : 'other';
  if (state !== '' && kind !== state) return false;
  const words = isRow(row) ? [row.state, row.by, row.instance] : [];
  const all = [run.id, run.name, ...words].join(' ').toLowerCase();
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => all.includes(word));
}

function kindOf({ isActive, state }: RunRow): string {
  if (isActive) return 'active';
  return STATES.includes(state) ? state : 'other';
}

export interface Selection {
  /** Those that match, as far as they were read, in their order. */
  found: ListedRun[];
  /** Those to be read next. */
  wanted: ListedRun[];
  /** How many of all were looked at. */
  looked: number;
}

/**
 * Chooses the runs to show: the newest that match, up to a number. What must be read to know that is `wanted`.
 * @param count how many to show. @param budget how many of them all are looked at, at most
 */
export function select(
  all: readonly ListedRun[],
  known: ReadonlyMap<string, KnownRow>,
  filter: Filter,
  { count, budget }: { count: number; budget: number },
): Selection {
  const selection: Selection = { found: [], wanted: [], looked: 0 };
  for (const run of all.slice(0, budget)) {
    if (selection.found.length + selection.wanted.length >= count) break;
    selection.looked++;
    const row = known.get(keyOf(run));
    if (row === undefined) selection.wanted.push(run);
    else if (matches(run, row, filter)) selection.found.push(run);
  }
  return selection;
}

/** Runs by a column; those without a value come last. */
export function sorted(
  runs: readonly ListedRun[],
  known: ReadonlyMap<string, KnownRow>,
  { by, down }: Sort,
  metric: string,
): ListedRun[] {
  const value = (run: ListedRun): string | number | null => {
    const row = known.get(keyOf(run));
    if (by === 'time') return run.id;
    if (!isRow(row)) return null;
    if (by === 'state' || by === 'by') return row[by];
    if (by === 'cost') return row.cost;
    if (by === 'duration') return durationOf(row);
    return metricOf(row, metric)?.[1] ?? null;
  };
  const sign = down ? -1 : 1;
  return [...runs].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    return a === b ? 0 : sign * (a < b ? -1 : 1);
  });
}

export function durationOf({ startedAt, endedAt, isActive }: RunRow): number | null {
  if (startedAt === null) return null;
  return (endedAt ?? (isActive ? Date.now() : startedAt)) - startedAt;
}

/** The metric of this name; '' for the first one that does not count steps. */
export function metricOf(
  { metrics, progress }: RunRow,
  name: string,
): [name: string, value: number | null] | undefined {
  return metrics.find(([each]) => (name === '' ? each !== progress?.name : each === name));
}
