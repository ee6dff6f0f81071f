import type { RunRow } from '../api';
import { formatCost, formatDuration, formatNumber, formatTime } from './format';
import { SortHead, State } from './parts';
import { runLink } from './route';
import { isRow, keyOf, type KnownRow, type ListedRun } from './rows';
import { durationOf, metricOf, type Sort } from './run-filter';

interface RunTableProps {
  runs: ListedRun[];
  known: ReadonlyMap<string, KnownRow>;
  sort: Sort;
  setSort: (sort: Sort) => void;
  metric: string;
  chosen: ReadonlyMap<string, ListedRun>;
  toggle: (run: ListedRun) => void;
}

export function RunTable({ runs, known, sort, setSort, metric, chosen, toggle }: RunTableProps) {
  return (
    <div class="scroll">
      <table>
        <caption class="unseen">Runs</caption>
        <Heads sort={sort} onSort={setSort} />
        <tbody>
          {runs.map((run) => {
            const row = known.get(keyOf(run));
            return (
              <tr key={keyOf(run)}>
                <td>
                  <input
                    type="checkbox"
                    aria-label={`Compare ${run.id}`}
                    checked={chosen.has(keyOf(run))}
                    onChange={() => toggle(run)}
                  />
                </td>
                <th scope="row">
                  <a href={runLink(run.project, run.id)}>{run.id}</a>
                </th>
                <td>{run.name}</td>
                {isRow(row) ? <Cells row={row} metric={metric} /> : <Unreadable row={row} />}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Heads(head: { sort: Sort; onSort: (sort: Sort) => void }) {
  return (
    <thead>
      <tr>
        <th scope="col">
          <span class="unseen">Compare</span>
        </th>
        <SortHead name="time" {...head}>
          Run
        </SortHead>
        <th scope="col">Project</th>
        <SortHead name="state" {...head}>
          State
        </SortHead>
        <SortHead name="by" {...head}>
          By
        </SortHead>
        <th scope="col">Instance</th>
        <th scope="col">Started</th>
        <SortHead name="duration" {...head}>
          Duration
        </SortHead>
        <SortHead name="cost" {...head}>
          Cost
        </SortHead>
        <SortHead name="metric" {...head}>
          Metric
        </SortHead>
        <th scope="col">Progress</th>
      </tr>
    </thead>
  );
}

function Cells({ row, metric }: { row: RunRow; metric: string }) {
  const found = metricOf(row, metric);
  const duration = durationOf(row);
  const { progress, nodes } = row;
  return (
    <>
      <td>
        <State {...row} />
      </td>
      <td>{row.by}</td>
      <td>
        {row.instance}
        {nodes > 1 && ` and ${nodes - 1} more`}
      </td>
      <td>{formatTime(row.startedAt ?? row.createdAt)}</td>
      <td class="number">{duration !== null && formatDuration(duration)}</td>
      <td class="number">{formatCost(row.cost)}</td>
      <td>{found && `${found[0]} ${formatNumber(found[1])}`}</td>
      <td>
        {progress && `${progress.name} ${formatNumber(progress.value)}`}
        {progress?.secondsPerStep && row.isActive ? `, ${formatDuration(progress.secondsPerStep * 1000)} each` : ''}
      </td>
    </>
  );
}

function Unreadable({ row }: { row: KnownRow | undefined }) {
  const trouble = row !== undefined && row !== 'gone' && 'trouble' in row ? row.trouble : null;
  return (
    <td colSpan={8} class="unreadable">
      {trouble && (
        <>
          <code>{trouble.code}</code> {trouble.message.split('\n')[0]}
        </>
      )}
    </td>
  );
}
