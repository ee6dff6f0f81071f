import type { RunFacts, RunState } from '../../command/plan';
import { formatDuration } from '../../report/units';
import { followRun } from '../follow/follow';
import { isEnded } from '../record/liveness';
import type { RunRecord } from '../record/record';
import type { RunContext } from '../../context/types';

/** Asks a run to stop, by one short command, and does not wait for its end. @param grace ms */
export function requestStop(
  context: RunContext,
  run: Pick<RunFacts, 'id' | 'instance'>,
  grace: number,
  signal?: AbortSignal,
): Promise<{ run: RunState; already: boolean }> {
  const { remote } = context.at(run.instance);
  return remote.send(
    { op: 'cancel', run: run.id, gracePeriod: Math.ceil(grace / 1000) },
    { comment: `nx-ec2: cancel ${run.id}`, signal },
  );
}

/**
 * Stops a run and waits for its end: SIGTERM to the whole process tree, the grace, SIGKILL. The instance of a run that has
 * ended by its record need not exist any more.
 */
export async function cancelRun(
  context: RunContext,
  run: Pick<RunFacts, 'id' | 'instance'> | RunRecord,
  signal: AbortSignal | undefined,
): Promise<{ run: RunRecord | RunState; already: boolean }> {
  const { gracePeriod: grace } = context.configuration.train;
  const asked = await requestStop(context, run, grace, signal).catch((error: unknown) => {
    if (signal?.aborted || !('state' in run) || !isEnded(run)) throw error;
    return { run, already: true };
  });
  if (asked.already) return asked;
  context.printer.line(`Asked ${run.id} to stop; it has ${formatDuration(grace)} before it is killed.`);
  const ended = await followRun(context, asked.run, {
    signal,
    quiet: true,
    onLog: () => undefined,
    onState: () => undefined,
  });
  return { run: ended, already: false };
}
