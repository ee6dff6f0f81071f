import { useMemo } from 'preact/hooks';
import type { MetricsData } from '../api';
import { Chart, type Line } from './chart';
import { untilOf } from './charts';
import { CompareTable } from './compare-table';
import { Loading, TroubleNote } from './parts';
import { isTrouble, useEach, type Each, type RunName } from './use-each';

/** More can't be told from each other. */
const MAX_RUNS = 10;

/** Several runs: what they were given, and each of their metrics in one chart. */
export function ComparePage({ runs: given }: { runs: RunName[] }) {
  const runs = given.slice(0, MAX_RUNS);
  const found = useEach<MetricsData>('metrics', runs);
  const charts = useMemo(() => overlaid(runs, found), [found]);
  const until = useMemo(() => untilOf(found.flatMap((each) => (hasMetrics(each) ? [each] : []))), [found]);
  return (
    <>
      <h2>{runs.length === 1 ? '1 run' : `${runs.length} runs`}</h2>
      {given.length > MAX_RUNS && <p class="note">Only the first {MAX_RUNS} runs are shown.</p>}
      <CompareTable runs={runs} />
      {found.map((each, n) => isTrouble(each) && <TroubleNote key={n} trouble={each} what={runs[n].run} />)}
      {found.every((each) => each === null) && <Loading />}
      {charts.length === 0 && found.some((each) => each !== null) && <p class="note">The runs have no metrics.</p>}
      <div class="charts below">
        {charts.map(({ title, lines }) => (
          <Chart key={title} title={title} lines={lines} until={until} />
        ))}
      </div>
    </>
  );
}

function hasMetrics(each: Each<MetricsData>): each is MetricsData {
  return each !== null && !isTrouble(each);
}

function overlaid(runs: RunName[], found: Each<MetricsData>[]): { title: string; lines: Line[] }[] {
  const charts = new Map<string, Line[]>();
  for (const kind of ['training', 'machine'] as const)
    found.forEach((each, n) => {
      if (!hasMetrics(each)) return;
      for (const { name, points } of each[kind]) {
        const lines = charts.get(name) ?? [];
        lines.push({ label: runs[n].run, color: n, start: each.start, points });
        charts.set(name, lines);
      }
    });
  return [...charts].map(([title, lines]) => ({ title, lines }));
}
