import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { STALE } from './follow';
import { latestRun, readRecord, type RunRecord } from './record';
import type { RunsSession } from './session';

/** A run of the store, with how long ago it was told of, ms. */
export interface FoundRun {
  record: RunRecord;
  age: number;
}

/**
 * The run that is meant: the one that is named, else the caller's own latest of this project.
 * @throws Problem where there is none.
 */
export async function chosenRun(session: RunsSession, run: string | undefined): Promise<FoundRun> {
  const { store, keys, project } = session;
  const found = run ? await readRecord(store, keys, run) : await latestRun(store, keys, await session.caller());
  if (found) return found;
  throw new Problem('NO_RUN', run ? `There is no run ${printable(run)} of ${project}.` : `${project} has no run of yours.`, {
    next: run
      ? `The runs of ${project}: nx run ${project}:remote-status`
      : `Those of others: nx run ${project}:remote-status; one is named by --run=<id>.`,
  });
}

/** What is known to be so: a run that goes on is only said to while it was told of. */
export function goesOn({ record, age }: FoundRun): boolean {
  return record.state !== 'ended' && age < STALE;
}

/**
 * The run that is this very training and needs no other: one that goes on, or one that has succeeded and was not
 * collected by anybody. What the store has not been told of, the instance finds.
 */
export async function sameTraining(
  { store, keys }: Pick<RunsSession, 'store' | 'keys'>,
  key: string,
): Promise<{ record: RunRecord; attached: 'running' | 'ended' } | null> {
  const bytes = await store.get(keys.key(key));
  if (!bytes) return null;
  const { run } = JSON.parse(bytes.toString()) as { run?: unknown };
  if (typeof run !== 'string') return null;
  const [found, collected] = await Promise.all([
    readRecord(store, keys, run),
    store.has(`${keys.run(run)}collected`),
  ]);
  if (!found || found.record.key !== key) return null;
  if (goesOn(found)) return { record: found.record, attached: 'running' };
  const { record } = found;
  const kept = record.state === 'ended' && record.outcome === 'succeeded' && record.artifacts?.state === 'saved';
  return kept && !collected ? { record, attached: 'ended' } : null;
}

/** Writes down which run was started last for a training. It only helps to find: that it fails is no failure. */
export async function rememberTraining(
  { store, keys }: Pick<RunsSession, 'store' | 'keys'>,
  key: string,
  run: string,
): Promise<void> {
  const value = Buffer.from(JSON.stringify({ v: 1, run }));
  await store.put(keys.key(key), value, { contentType: 'application/json' }).catch(() => undefined);
}
