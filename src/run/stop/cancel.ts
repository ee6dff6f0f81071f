import type { RunFacts, RunState } from '../../command/plan';
import { formatDuration } from '../../report/units';
import { followRun } from '../follow/follow';
import { Problem } from '../../report/problem';
import { cancelInterrupted } from '../record/cancel-interrupted';
import { isEnded, lost } from '../record/liveness';
import { tryReadRecord, type RunRecord } from '../record/record';
import type { RunContext } from '../../context/types';

/**
 * Asks a run to stop, by one short command, and does not wait for its end. One that has moved to another instance since it
 * was looked for is asked there. @param grace ms
 */
export async function requestStop(
  context: RunContext,
  run: Pick<RunFacts, 'id' | 'instance'>,
  grace: number,
  signal?: AbortSignal,
): Promise<{ run: RunState; already: boolean }> {
  const told = await context
    .at(run.instance)
    .remote.send<{ run: RunState; already: boolean }>(
      { op: 'cancel', run: run.id, gracePeriod: Math.ceil(grace / 1000) },
      { comment: `nx-ec2: cancel ${run.id}`, signal },
    );
  const now = (await tryReadRecord(context.store, context.keys, run.id).catch(() => null))?.record;
  const hasMoved = now && now.attempt > told.run.attempt && now.instance !== run.instance && !isEnded(now);
  return hasMoved ? requestStop(context, now, grace, signal) : told;
}

/**
 * Stops a run and waits for its end: SIGTERM to the whole process tree, the grace, SIGKILL. One that was interrupted, and that
 * another instance would resume, is not resumed then. The instance of a run that has ended need not exist any more.
 */
export async function cancelRun(
  context: RunContext,
  run: Pick<RunFacts, 'id' | 'instance'> | RunRecord,
  signal: AbortSignal | undefined,
): Promise<{ run: RunRecord | RunState; already: boolean }> {
  const known = 'metadata' in run ? run : null;
  const between = known && (await cancelInterrupted(context, known));
  if (between) return { run: between, already: false };
  const { gracePeriod: grace } = context.configuration.train;
  const follow = (state: RunFacts) =>
    followRun(context, state, { signal, quiet: true, onLog: () => undefined, onState: () => undefined });
  const asked = await requestStop(context, run, grace, signal).catch(async (error: unknown) => {
    if (signal?.aborted || !known) throw error;
    if (isEnded(known)) return { run: known, already: true };
    const cancelled = await cancelGone(context, known);
    if (!cancelled) throw error;
    return { run: cancelled, already: false, gone: true };
  });
  if ('gone' in asked) return asked;
  if (asked.already) {
    // It was active when it was looked for, and may have been interrupted since.
    const cancelled = known && !isEnded(known) ? await cancelInterrupted(context, await follow(asked.run)) : null;
    return cancelled ? { run: cancelled, already: false } : asked;
  }
  context.printer.line(`Asked ${run.id} to stop; it has ${formatDuration(grace)} before it is killed.`);
  return { run: await follow(asked.run), already: false };
}

/** Cancels a run whose instance EC2 says is gone, if another one would resume it; null if none would, or it is there. */
async function cancelGone(context: RunContext, run: RunRecord): Promise<RunRecord | null> {
  try {
    await context.at(run.instance).assertInstanceExists();
    return null;
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== 'INSTANCE_GONE') throw error;
    return cancelInterrupted(context, lost(run, error, Infinity));
  }
}
