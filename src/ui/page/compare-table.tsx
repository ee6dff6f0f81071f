import { useState } from 'preact/hooks';
import type { RunDetail } from '../api';
import { formatCost, formatDuration, formatNumber } from './format';
import { SortHead, State } from './parts';
import { runLink } from './route';
import { durationOf } from './run-filter';
import { isTrouble, useEach, type RunName } from './use-each';

/** Columns of settings, and of metrics. */
const MAX_COLUMNS = 30;

interface Column {
  name: string;
  /** What is sorted by. */
  value: (run: RunDetail) => string | number | null;
  shown: (run: RunDetail) => string;
}

/** The runs with the settings in which they differ, and their latest metrics. */
export function CompareTable({ runs }: { runs: RunName[] }) {
  const found = useEach<RunDetail>('run', runs);
  const [sort, setSort] = useState({ by: '', down: true });
  const details = found.flatMap((each) => (each === null || isTrouble(each) ? [] : [each]));
  const columns = columnsOf(details);
  const rows = runs.map((run, n) => ({ ...run, color: n, detail: details.find(({ id }) => id === run.run) }));
  const column = columns.find(({ name }) => name === sort.by);
  if (column) rows.sort((a, b) => compare(column, a.detail, b.detail) * (sort.down ? -1 : 1));
  return (
    <div class="scroll">
      <table>
        <caption class="unseen">Runs, the settings in which they differ, and their latest metrics</caption>
        <thead>
          <tr>
            <th scope="col">Run</th>
            <th scope="col">State</th>
            {columns.map(({ name }) => (
              <SortHead key={name} name={name} sort={sort} onSort={setSort}>
                {name}
              </SortHead>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ project, run, color, detail }) => (
            <tr key={`${project}\n${run}`}>
              <th scope="row">
                <span class={`swatch s${color}`} aria-hidden="true" />
                <a href={runLink(project, run)}>{run}</a>
              </th>
              <td>{detail && <State {...detail} />}</td>
              {columns.map(({ name, shown }) => (
                <td key={name}>{detail && shown(detail)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function columnsOf(runs: readonly RunDetail[]): Column[] {
  const settings = namesOf(runs.map(({ configuration }) => configuration)).filter(
    (name) => new Set(runs.map((run) => settingOf(run, name))).size > 1,
  );
  const metrics = namesOf(runs.map((run) => run.metrics));
  return [
    ...settings.slice(0, MAX_COLUMNS).map((name) => ({
      name,
      value: (run: RunDetail) => settingOf(run, name) ?? null,
      shown: (run: RunDetail) => settingOf(run, name) ?? '',
    })),
    {
      name: 'Duration',
      value: durationOf,
      shown: (run) => (run.startedAt === null ? '' : formatDuration(durationOf(run)!)),
    },
    { name: 'Cost', value: ({ cost }) => cost, shown: ({ cost }) => formatCost(cost) },
    ...metrics.slice(0, MAX_COLUMNS).map((name) => ({
      name: `${name}, latest`,
      value: (run: RunDetail) => metricOf(run, name) ?? null,
      shown: (run: RunDetail) => {
        const value = metricOf(run, name);
        return value === undefined ? '' : formatNumber(value);
      },
    })),
  ];
}

function namesOf(all: readonly (readonly [string, unknown][])[]): string[] {
  return [...new Set(all.flatMap((pairs) => pairs.map(([name]) => name)))];
}

function settingOf({ configuration }: RunDetail, name: string): string | undefined {
  return configuration.find(([each]) => each === name)?.[1];
}

function metricOf({ metrics }: RunDetail, name: string): number | null | undefined {
  return metrics.find(([each]) => each === name)?.[1];
}

/** Numbers as numbers, whether they are written as text or not; what is not there comes first. */
function compare({ value }: Column, one: RunDetail | undefined, other: RunDetail | undefined): number {
  const [a, b] = [one && value(one), other && value(other)].map((each) => each ?? null);
  if (a === null || b === null) return Number(a !== null) - Number(b !== null);
  const [x, y] = [Number(a), Number(b)];
  if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  return String(a) < String(b) ? -1 : 1;
}
