import { isNamedInstance } from '../../instance/describe/ownership';
import { listOwnedInstances } from '../../instance/describe/describe-instances';
import { findInstances } from '../../instance/describe/find';
import { instancesOf } from '../../instance/fleet/find-fleet';
import { sleep } from '../../system/sleep';
import type { PollReply, RunState } from '../../command/plan';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatDuration } from '../../report/units';
import { steadyNow } from '../../system/moment';
import { cancelBetweenInstances } from '../fleet/cancel-fleet';
import { pollRun } from '../follow/poll-instance';
import { UNREACHABLE_TIMEOUT_MS } from '../record/liveness';
import { endOfInstance } from '../follow/silence';
import { requestStop } from './cancel';
import type { RunContext } from '../../context/types';

/** Interval between two polls of the instance, ms. */
const POLL_MS = 2_000;
/** Time limit for a run that has ended to save its results, ms. */
const SAVING_MS = 30_000;

/**
 * Cancels a run whose record can't be verified, or is missing. Whoever writes over the record, or deletes it, must not keep a run from
 * being cancelled, so the instances that can have it are asked instead: those that EC2 says nx-ec2 launched for this run
 * or this project, and those that the configuration names.
 * @param force also one of a colleague.
 * @returns null where no instance knows the run.
 */
export async function cancelUnverified(
  context: RunContext,
  id: string,
  force: boolean,
  signal: AbortSignal,
): Promise<{ run: RunState; already: boolean } | null> {
  const { configuration, printer } = context;
  const found = await findRun(context, id, signal);
  if (!found) return null;
  if (found.caller !== (await context.caller()) && !force)
    throw new Problem('NOT_OWNER', `${id} is a run of ${sanitizeForTerminal(found.caller)}.`, {
      next: 'To stop it anyway, add --force.',
    });
  const grace = configuration.train.gracePeriod;
  const { run: asked, already } = await requestStop(context, found, grace, signal);
  if (!already)
    printer.line(
      `The record of ${id} can't be verified or is missing. Asked ${found.instance} itself to stop the run; it has ${formatDuration(grace)} before it is killed.`,
    );
  const run = already ? asked : await waitForEnd(context, found, grace, signal);
  await cancelBetweenInstances(context, id, force);
  return { run, already };
}

/** Finds the run on an instance that has it; null if none has it. */
async function findRun(context: RunContext, id: string, signal: AbortSignal): Promise<RunState | null> {
  const { aws, configuration, printer } = context;
  const named = await findInstances(aws, configuration.instances.filter(isNamedInstance)).catch(() => []);
  context.allow(named);
  const launched = await instancesOf(aws, id, signal);
  const owned = (await listOwnedInstances(aws, await context.owner(), signal)).map((each) => each.id);
  for (const instance of new Set([...launched, ...owned, ...named])) {
    try {
      return (await pollRun(context, { id, instance }, 0, signal)).run;
    } catch (error) {
      signal.throwIfAborted();
      printer.detail(`${instance} did not report the state of ${id}: ${(error as Error).message.split('\n')[0]}`);
    }
  }
  return null;
}

/**
 * Waits until a run that was asked to stop has ended, and until its results are saved where that is possible. An
 * instance may shut itself down after the run before it is asked again: the run has ended with it.
 */
async function waitForEnd(context: RunContext, run: RunState, grace: number, signal: AbortSignal): Promise<RunState> {
  const until = steadyNow() + grace + UNREACHABLE_TIMEOUT_MS;
  let ended: number | undefined;
  for (;;) {
    const told: PollReply | null = await pollRun(context, run, 0, signal).catch((error: unknown) => {
      if (error instanceof Problem && error.code === 'INSTANCE_GONE') return null;
      throw error;
    });
    if (!told) {
      context.printer.line(`${run.instance} has ended, and ${run.id} with it.`);
      return { ...run, state: 'ended', outcome: run.outcome ?? 'cancelled' };
    }
    if (told.run.outcome !== null) {
      ended ??= steadyNow();
      if (told.report?.saved !== false || steadyNow() - ended > SAVING_MS) return told.run;
    }
    if (steadyNow() > until) throw notStopped(context, run, grace + UNREACHABLE_TIMEOUT_MS);
    await sleep(POLL_MS, signal);
  }
}

function notStopped(context: RunContext, { id, instance }: RunState, waited: number): Problem {
  return new Problem(
    'RUN_SILENT',
    `${id} has not ended ${formatDuration(waited)} after it was asked to: ${instance} still answers that it runs.`,
    {
      next: endOfInstance(context, instance),
    },
  );
}
