import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Overview } from '../api';
import { Loading, TroubleNote } from './parts';
import { compareLink } from './route';
import { isRow, keyOf, listedRuns, useReading, useRows, type KnownRow, type ListedRun } from './rows';
import { select, sorted, STATES, type Filter, type Sort } from './run-filter';
import { RunTable } from './run-table';

const PAGE = 50;
/** Records that are read for one search before the reader is asked. */
const BUDGET = 1_000;

export function RunsPage({ overview }: { overview: Overview }) {
  const [filter, setFilter] = useState<Filter & { project: string }>({ text: '', state: '', project: '' });
  const [limits, setLimits] = useState({ count: PAGE, budget: BUDGET });
  const [sort, setSort] = useState<Sort>({ by: 'time', down: true });
  const [metric, setMetric] = useState('');
  const [chosen, setChosen] = useState<ReadonlyMap<string, ListedRun>>(new Map());
  const all = useMemo(() => listedRuns(overview, filter.project), [overview, filter.project]);
  const rows = useRows();
  const { known, trouble } = rows;
  const current = select(all, known, filter, limits);
  useReading(rows, current.wanted, current.found);
  const change = (more: Partial<typeof filter>) => {
    setFilter({ ...filter, ...more });
    setLimits({ count: PAGE, budget: BUDGET });
  };
  const toggle = (run: ListedRun) => {
    const next = new Map(chosen);
    if (!next.delete(keyOf(run))) next.set(keyOf(run), run);
    setChosen(next);
  };
  const names = [...new Set(current.found.flatMap((run) => metricNames(known.get(keyOf(run)))))].sort();
  return (
    <>
      <Filters {...{ overview, filter, change, names, metric, setMetric }} />
      {overview.projects.map(
        ({ project, name, trouble }) => trouble && <TroubleNote key={project} trouble={trouble} what={name} />,
      )}
      {overview.partial !== null && <p class="note">{overview.partial}</p>}
      <TroubleNote trouble={trouble} what="Runs can't be read." />
      {chosen.size > 0 && <Chosen runs={[...chosen.values()]} onClear={() => setChosen(new Map())} />}
      {all.length === 0 ? (
        <p class="note">There are no runs in the store.</p>
      ) : (
        <RunTable
          runs={sorted(current.found, known, sort, metric)}
          {...{ known, sort, setSort, metric, chosen, toggle }}
        />
      )}
      <More
        {...{ ...current, total: all.length, isStuck: trouble !== null, sort }}
        count={limits.count}
        onMore={() =>
          setLimits({ count: limits.count + PAGE, budget: Math.max(limits.budget, current.looked + BUDGET) })
        }
      />
    </>
  );
}

function metricNames(row: KnownRow | undefined): string[] {
  return isRow(row) ? row.metrics.map(([name]) => name) : [];
}

interface FiltersProps {
  overview: Overview;
  filter: Filter & { project: string };
  change: (more: Partial<Filter & { project: string }>) => void;
  names: string[];
  metric: string;
  setMetric: (name: string) => void;
}

function Filters({ overview, filter, change, names, metric, setMetric }: FiltersProps) {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const focus = (event: KeyboardEvent) => {
      if (event.key !== '/' || event.target instanceof HTMLInputElement) return;
      event.preventDefault();
      input.current?.focus();
    };
    addEventListener('keydown', focus);
    return () => removeEventListener('keydown', focus);
  }, []);
  const value = (event: Event) => (event.target as HTMLInputElement | HTMLSelectElement).value;
  return (
    <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
      <label>
        Filter <kbd>/</kbd>
        <input
          ref={input}
          type="search"
          value={filter.text}
          placeholder="id, project, state, user, instance"
          onInput={(event) => change({ text: value(event) })}
        />
      </label>
      <label>
        Project
        <select value={filter.project} onChange={(event) => change({ project: value(event) })}>
          <option value="">all</option>
          {overview.projects.map(({ project, name, runs }) => (
            <option key={project} value={project}>
              {name} ({runs.length})
            </option>
          ))}
        </select>
      </label>
      <label>
        State
        <select value={filter.state} onChange={(event) => change({ state: value(event) })}>
          <option value="">any</option>
          {STATES.map((state) => (
            <option key={state}>{state}</option>
          ))}
        </select>
      </label>
      <label>
        Metric
        <select value={metric} onChange={(event) => setMetric(value(event))}>
          <option value="">the first</option>
          {names.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
    </form>
  );
}

function Chosen({ runs, onClear }: { runs: ListedRun[]; onClear: () => void }) {
  const link = compareLink(runs.map(({ project, id }) => ({ project, run: id })));
  return (
    <p class="chosen" role="status">
      {runs.length === 1 ? '1 run is chosen. ' : `${runs.length} runs are chosen. `}
      <a href={link}>Compare them in one chart and table</a>{' '}
      <button type="button" onClick={onClear}>
        Choose none
      </button>
    </p>
  );
}

interface MoreProps {
  found: ListedRun[];
  wanted: ListedRun[];
  looked: number;
  total: number;
  count: number;
  isStuck: boolean;
  sort: Sort;
  onMore: () => void;
}

/** What is not shown, and how it can be. */
function More({ found, wanted, looked, total, count, isStuck, sort, onMore }: MoreProps) {
  if (wanted.length && !isStuck)
    return (
      <Loading>
        {found.length} found, reading {looked} of {total} …
      </Loading>
    );
  if (looked >= total)
    return <p class="note">{found.length === total ? `${total} runs` : `${found.length} of ${total} runs`}</p>;
  return (
    <p class="note" role="status">
      {found.length} shown, of the newest {looked} of {total} runs
      {sort.by !== 'time' && '; only these are sorted'}.{' '}
      <button type="button" onClick={onMore}>
        {found.length >= count ? `Show ${PAGE} more` : 'Look at more'}
      </button>
    </p>
  );
}
