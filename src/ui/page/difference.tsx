import { useState } from 'preact/hooks';
import type { DifferenceData, Overview } from '../api';
import { useAnswer, type Query } from './api-client';
import { Loading, TroubleNote } from './parts';
import { listedRuns } from './rows';

/** Runs that are offered. */
const OFFERED = 200;

/** What differs from another run, chosen by the reader. */
export function Difference({ query, overview }: { query: Query; overview: Overview | null }) {
  const { project, run } = query as { project: string; run: string };
  const others = overview ? listedRuns(overview, '').filter(({ id }) => id !== run) : [];
  const own = others.filter((each) => each.project === project);
  const older = own.filter(({ id }) => id < run);
  const offered = [...older, ...own.filter(({ id }) => id > run), ...others.filter((each) => each.project !== project)];
  const [chosen, setChosen] = useState('');
  const base = offered.find(({ project, id }) => `${project}\n${id}` === chosen) ?? offered[0];
  if (!base) return <p class="note">There is no other run to compare with.</p>;
  return (
    <>
      <label class="nodes">
        Compared with
        <select
          value={`${base.project}\n${base.id}`}
          onChange={(event) => setChosen((event.target as HTMLSelectElement).value)}
        >
          {offered.slice(0, OFFERED).map(({ project, name, id }) => (
            <option key={`${project}\n${id}`} value={`${project}\n${id}`}>
              {id} ({name})
            </option>
          ))}
        </select>
      </label>
      <Lines query={{ ...query, withProject: base.project, with: base.id }} />
    </>
  );
}

function Lines({ query }: { query: Query }) {
  const { data, trouble } = useAnswer<DifferenceData>('difference', query, 0);
  return (
    <>
      <TroubleNote trouble={trouble} what="The runs can't be compared." />
      {!data && !trouble && <Loading>Comparing …</Loading>}
      {data && (
        <pre class="difference" tabIndex={0}>
          {data.lines.map((line, at) => (
            <span key={at} class={classOf(line)}>
              {`${line}\n`}
            </span>
          ))}
        </pre>
      )}
    </>
  );
}

function classOf(line: string): string {
  const [mark] = line.trimStart();
  return mark === '+' ? 'added' : mark === '-' ? 'removed' : /^\S/.test(line) ? 'section' : '';
}
