import { useEffect, useRef, useState } from 'preact/hooks';
import type { Overview, Row, RunRow, Trouble } from '../api';
import { ask, troubleOf } from './api-client';

/** Runs of one request. */
const BATCH = 50;
/** How often active runs that are shown are read again, ms. */
const REFRESH_MS = 5_000;

export interface ListedRun {
  project: string;
  /** As it is shown. */
  name: string;
  id: string;
}

/** `gone`: it is no longer in the store. */
export type KnownRow = Row | 'gone';

/** All runs of the projects, newest first. @param project only its runs; '' for all */
export function listedRuns({ projects }: Overview, project: string): ListedRun[] {
  return projects
    .filter((each) => project === '' || each.project === project)
    .flatMap(({ project, name, runs }) => runs.map((id) => ({ project, name, id })))
    .sort((a, b) => (a.id < b.id ? 1 : -1));
}

export function isRow(row: KnownRow | undefined): row is RunRow {
  return row !== undefined && row !== 'gone' && 'state' in row;
}

export const keyOf = ({ project, id }: { project: string; id: string }) => `${project}\n${id}`;

export interface Rows {
  known: ReadonlyMap<string, KnownRow>;
  trouble: Trouble | null;
  /** Reads these, unless others are being read. */
  read: (runs: readonly ListedRun[]) => Promise<void>;
}

/** The rows of runs that were read so far. */
export function useRows(): Rows {
  const known = useRef(new Map<string, KnownRow>());
  const isReading = useRef(false);
  const [state, setState] = useState<{ trouble: Trouble | null }>({ trouble: null });
  const read = async (runs: readonly ListedRun[]) => {
    if (isReading.current || runs.length === 0) return;
    isReading.current = true;
    let trouble: Trouble | null = null;
    for (let from = 0; from < runs.length && trouble === null; from += BATCH) {
      try {
        await readBatch(known.current, runs.slice(from, from + BATCH));
      } catch (error) {
        trouble = troubleOf(error);
      }
      // The last one says that nothing is read any more.
      isReading.current = from + BATCH < runs.length && trouble === null;
      setState({ trouble });
    }
  };
  return { known: known.current, trouble: state.trouble, read };
}

async function readBatch(known: Map<string, KnownRow>, runs: readonly ListedRun[]): Promise<void> {
  const byProject = new Map<string, string[]>();
  for (const { project, id } of runs) byProject.set(project, [...(byProject.get(project) ?? []), id]);
  await Promise.all(
    [...byProject].map(async ([project, ids]) => {
      const { rows } = await ask<{ rows: Row[] }>('rows', { project, runs: ids.join(',') });
      for (const id of ids) known.set(keyOf({ project, id }), rows.find((row) => row.id === id) ?? 'gone');
    }),
  );
}

/** Reads the rows that are wanted, and those that are shown again while they are active. */
export function useReading({ known, trouble, read }: Rows, wanted: readonly ListedRun[], shown: readonly ListedRun[]) {
  const latest = useRef<() => void>(() => undefined);
  latest.current = () => {
    const active = shown.filter((run) => {
      const row = known.get(keyOf(run));
      return isRow(row) ? row.isActive : row !== 'gone';
    });
    // What failed is asked for again.
    void read([...wanted, ...active]);
  };
  useEffect(() => {
    if (wanted.length && trouble === null) void read(wanted);
  });
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === 'visible' && latest.current(), REFRESH_MS);
    return () => clearInterval(timer);
  }, []);
}
