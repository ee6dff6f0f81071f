import type { RunFacts, RunState } from '../command/plan';
import { formatDuration } from '../report/units';
import { followRun } from './follow';
import type { RunRecord } from './record';
import type { RunsSession } from './session';

/** Asks a run to stop, by one short command, and does not wait for its end. @param grace ms */
export function askToStop(
  session: RunsSession,
  run: Pick<RunFacts, 'id' | 'instance'>,
  grace: number,
  signal?: AbortSignal,
): Promise<{ run: RunState; already: boolean }> {
  const { remote } = session.at(run.instance);
  return remote.send(
    { op: 'cancel', run: run.id, grace: Math.ceil(grace / 1000) },
    { comment: `nx-ec2: cancel ${run.id}`, signal },
  );
}

/** Stops a run and waits for its end: SIGTERM to the whole process tree, the grace, SIGKILL. */
export async function cancelRun(
  session: RunsSession,
  run: Pick<RunFacts, 'id' | 'instance'>,
  signal: AbortSignal | undefined,
): Promise<{ run: RunRecord | RunState; already: boolean }> {
  const { grace } = session.configuration.train;
  const asked = await askToStop(session, run, grace, signal);
  if (asked.already) return asked;
  session.reporter.line(`Asked ${run.id} to stop; it has ${formatDuration(grace)} before it is killed.`);
  const ended = await followRun(session, asked.run, {
    signal,
    quiet: true,
    onLog: () => undefined,
    onState: () => undefined,
  });
  return { run: ended, already: false };
}
