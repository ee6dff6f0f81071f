import { useState } from 'preact/hooks';
import type { Overview, RunDetail } from '../api';
import { useAnswer, type Query } from './api-client';
import { RunCharts } from './charts';
import { Difference } from './difference';
import { Files } from './files';
import { formatCost, formatDuration, formatNumber, formatTime } from './format';
import { LogView } from './log';
import { Command, Loading, State, TroubleNote } from './parts';
import { runLink } from './route';
import { durationOf } from './run-filter';

const TABS = [
  ['overview', 'Overview'],
  ['log', 'Log'],
  ['charts', 'Charts'],
  ['files', 'Files'],
  ['configuration', 'Configuration'],
  ['difference', 'Difference'],
] as const;

/** How often an active run is read again, and one that has ended, which may be resumed, ms. */
const ACTIVE_MS = 5_000;
const ENDED_MS = 30_000;

export function RunPage(props: { project: string; run: string; tab: string; overview: Overview | null }) {
  const { project, run, tab, overview } = props;
  const [node, setNode] = useState(0);
  const query: Query = { project, run, ...(node > 0 && { node }) };
  const { data, trouble } = useAnswer<RunDetail>('run', query, (last) =>
    last && !last.isActive ? ENDED_MS : ACTIVE_MS,
  );
  return (
    <article>
      <h2>
        {run} {data && <State {...data} />}
      </h2>
      <TroubleNote trouble={trouble} what="The run can't be read." />
      {data && data.nodes > 1 && <Nodes count={data.nodes} node={node} setNode={setNode} />}
      <nav class="tabs" aria-label="Parts of the run">
        {TABS.map(([name, title]) => (
          <a key={name} href={runLink(project, run, name)} aria-current={tab === name ? 'page' : undefined}>
            {title}
          </a>
        ))}
      </nav>
      {!data && !trouble && <Loading />}
      {data && tab === 'overview' && <OverviewTab run={data} />}
      {data && tab === 'log' && <LogView key={node} query={query} />}
      {data && tab === 'charts' && <RunCharts key={node} query={query} isActive={data.isActive} />}
      {data && tab === 'files' && <Files key={node} query={query} isActive={data.isActive} />}
      {data && tab === 'configuration' && <Configuration run={data} />}
      {data && tab === 'difference' && <Difference query={{ project, run }} overview={overview} />}
    </article>
  );
}

function Nodes({ count, node, setNode }: { count: number; node: number; setNode: (node: number) => void }) {
  return (
    <label class="nodes">
      Node
      <select value={node} onChange={(event) => setNode(Number((event.target as HTMLSelectElement).value))}>
        {Array.from({ length: count }, (_, n) => (
          <option key={n} value={n}>
            {n}
          </option>
        ))}
      </select>
    </label>
  );
}

function OverviewTab({ run }: { run: RunDetail }) {
  const { startedAt, createdAt, endedAt, cost, metrics, progress } = run;
  const duration = durationOf(run);
  const times: [string, string][] = [
    ['State', run.outcome],
    ['Created', formatTime(createdAt)],
    ...(startedAt === null ? [] : ([['Started', formatTime(startedAt)]] as [string, string][])),
    ...(endedAt === null ? [] : ([['Ended', formatTime(endedAt)]] as [string, string][])),
    ...(duration === null ? [] : ([['Duration', formatDuration(duration)]] as [string, string][])),
    ...(cost === null ? [] : ([['Cost so far', formatCost(cost)]] as [string, string][])),
    ...(progress ? ([['Progress', `${progress.name} ${formatNumber(progress.value)}`]] as [string, string][]) : []),
  ];
  return (
    <>
      {run.warnings.map((text, at) => (
        <p key={at} class="warning">
          {text}
        </p>
      ))}
      <Facts rows={times.concat(run.facts.filter(([name]) => name !== 'Cost' || cost === null))} />
      {metrics.length > 0 && (
        <>
          <h3>Latest metrics</h3>
          <Facts rows={metrics.map(([name, value]) => [name, formatNumber(value)])} />
        </>
      )}
      <h3>Commands</h3>
      {run.commands.map(([title, command]) => (
        <Command key={title} title={title} command={command} />
      ))}
    </>
  );
}

function Facts({ rows }: { rows: [string, string][] }) {
  return (
    <dl class="facts">
      {rows.map(([name, value], at) => (
        <div key={at}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Configuration({ run }: { run: RunDetail }) {
  if (!run.configuration.length) return <p class="note">The record of the run has no configuration.</p>;
  return (
    <>
      <p class="note">The settings that decide the result, as the run had them.</p>
      <Facts rows={run.configuration} />
    </>
  );
}
