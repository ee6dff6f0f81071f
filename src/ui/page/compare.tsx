import { useEffect, useMemo, useState } from 'preact/hooks';
import type { MetricsData, Trouble } from '../api';
import { ask, troubleOf } from './api-client';
import { Chart, type Line } from './chart';
import { untilOf } from './charts';
import { Loading, TroubleNote } from './parts';
import { runLink } from './route';

interface RunName {
  project: string;
  run: string;
}

/** More can't be told from each other. */
const MAX_RUNS = 10;
const REFRESH_MS = 15_000;

/** The metrics of several runs, each in one chart. */
export function ComparePage({ runs: given }: { runs: RunName[] }) {
  const runs = given.slice(0, MAX_RUNS);
  const found = useMetrics(runs);
  const charts = useMemo(() => overlaid(runs, found), [found]);
  const until = useMemo(
    () => untilOf(found.flatMap((each) => (each === null || 'code' in each ? [] : [each]))),
    [found],
  );
  return (
    <>
      <h2>{runs.length === 1 ? '1 run' : `${runs.length} runs`}</h2>
      {given.length > MAX_RUNS && <p class="note">Only the first {MAX_RUNS} runs are shown.</p>}
      <ul>
        {runs.map(({ project, run }) => (
          <li key={run}>
            <a href={runLink(project, run)}>{run}</a> ({project})
          </li>
        ))}
      </ul>
      {found.map((each, n) => each && 'code' in each && <TroubleNote key={n} trouble={each} what={runs[n].run} />)}
      {found.every((each) => each === null) && <Loading />}
      {charts.length === 0 && found.some((each) => each !== null) && <p class="note">The runs have no metrics.</p>}
      <div class="charts">
        {charts.map(({ title, lines }) => (
          <Chart key={title} title={title} lines={lines} until={until} />
        ))}
      </div>
    </>
  );
}

type Found = MetricsData | Trouble | null;

function useMetrics(runs: RunName[]): Found[] {
  const [found, setFound] = useState<Found[]>(() => runs.map(() => null));
  const names = runs.map(({ project, run }) => `${project}\n${run}`).join('\n');
  useEffect(() => {
    const controller = new AbortController();
    const read = async () => {
      if (document.visibilityState !== 'visible') return;
      const all = await Promise.all(
        runs.map(({ project, run }) =>
          ask<MetricsData>('metrics', { project, run }, controller.signal).catch((error: unknown) => troubleOf(error)),
        ),
      );
      if (!controller.signal.aborted) setFound(all);
    };
    setFound(runs.map(() => null));
    void read();
    const timer = setInterval(() => void read(), REFRESH_MS);
    return () => {
      controller.abort();
      clearInterval(timer);
    };
  }, [names]);
  return found;
}

function overlaid(runs: RunName[], found: Found[]): { title: string; lines: Line[] }[] {
  const charts = new Map<string, Line[]>();
  for (const kind of ['training', 'machine'] as const)
    found.forEach((each, n) => {
      if (each === null || 'code' in each) return;
      for (const { name, points } of each[kind]) {
        const lines = charts.get(name) ?? [];
        lines.push({ label: runs[n].run, color: n, start: each.start, points });
        charts.set(name, lines);
      }
    });
  return [...charts].map(([title, lines]) => ({ title, lines }));
}
