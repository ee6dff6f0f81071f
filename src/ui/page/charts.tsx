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
  if (!data) return trouble ? <TroubleNote trouble={trouble} what="The metrics can't be read." /> : <Loading />;
  return (
    <>
      <TroubleNote trouble={trouble} what="The metrics can't be read." />
      {data.trouble !== null && <p class="warning">{data.trouble}</p>}
      {marks.length > 0 && <Marks marks={marks} />}
      <h3>Training</h3>
      {data.training.length === 0 && <p class="note">The training has reported no metrics.</p>}
      <Charts series={data.training} start={data.start} marks={marks} />
      <h3>Instance</h3>
      {data.machine.length === 0 && <p class="note">Nothing was measured.</p>}
      <Charts series={data.machine} start={data.start} marks={marks} />
    </>
  );
}

export function marksSince({ marks, start }: MetricsData): Mark[] {
  return marks.map((mark) => ({ ...mark, at: mark.at - start })).filter(({ at }) => at >= 0);
}

function Charts({ series, start, marks }: { series: SeriesData[]; start: number; marks: Mark[] }) {
  const all = useMemo(
    () => series.map(({ name, points }) => ({ name, lines: [{ label: name, color: 0, start, points }] })),
    [series],
  );
  return (
    <div class="charts">
      {all.map(({ name, lines }) => (
        <Chart key={name} title={name} lines={lines} marks={marks} />
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
