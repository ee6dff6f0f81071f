import { useMemo } from 'preact/hooks';
import type { Mark, MetricsData, SeriesData } from '../api';
import { useAnswer, type Query } from './api-client';
import { Chart } from './chart';
import { formatDuration } from './format';
import { Loading, TroubleNote } from './parts';

const REFRESH_MS = 10_000;

/** The metrics of the training and of the instance, over the same time. */
export function RunCharts({ query, isActive }: { query: Query; isActive: boolean }) {
  const { data, trouble } = useAnswer<MetricsData>('metrics', query, isActive ? REFRESH_MS : 0);
  const marks = useMemo(() => (data ? marksSince(data) : []), [data]);
  const until = useMemo(() => (data ? untilOf([data]) : 0), [data]);
  if (!data) return trouble ? <TroubleNote trouble={trouble} what="The metrics can't be read." /> : <Loading />;
  const time = { start: data.start, marks, until };
  return (
    <>
      <TroubleNote trouble={trouble} what="The metrics can't be read." />
      {data.trouble !== null && <p class="warning">{data.trouble}</p>}
      {marks.length > 0 && <Marks marks={marks} />}
      <h3>Training</h3>
      {data.training.length === 0 && <p class="note">The training has reported no metrics.</p>}
      <Charts series={data.training} {...time} />
      <h3>Instance</h3>
      {data.machine.length === 0 && <p class="note">Nothing was measured.</p>}
      <Charts series={data.machine} {...time} />
    </>
  );
}

function marksSince({ marks, start }: MetricsData): Mark[] {
  return marks.map((mark) => ({ ...mark, at: mark.at - start })).filter(({ at }) => at >= 0);
}

/** When the last of all metrics and marks was, ms from the start: all charts have one time axis. */
export function untilOf(runs: readonly MetricsData[]): number {
  const times = runs.flatMap(({ start, training, machine, marks }) => [
    ...[...training, ...machine].map(({ points }) => (points.at(-1)?.[0] ?? start) - start),
    ...marks.map(({ at }) => at - start),
  ]);
  return times.reduce((a, b) => Math.max(a, b), 0);
}

interface ChartsProps {
  series: SeriesData[];
  start: number;
  marks: Mark[];
  until: number;
}

function Charts({ series, start, marks, until }: ChartsProps) {
  const all = useMemo(
    () => series.map(({ name, points }) => ({ name, lines: [{ label: name, color: 0, start, points }] })),
    [series],
  );
  return (
    <div class="charts">
      {all.map(({ name, lines }) => (
        <Chart key={name} title={name} lines={lines} marks={marks} until={until} />
      ))}
    </div>
  );
}

/** What the vertical lines stand for. */
function Marks({ marks }: { marks: Mark[] }) {
  return (
    <details class="marks">
      <summary>
        Marked: <span class="attempt">attempts</span>, <span class="checkpoint">checkpoints</span>
      </summary>
      <ul>
        {marks.map(({ at, label }, n) => (
          <li key={n}>
            {formatDuration(at)}: {label}
          </li>
        ))}
      </ul>
    </details>
  );
}
