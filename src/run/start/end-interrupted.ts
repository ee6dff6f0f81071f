import { isAlive, describeInstance } from '../../instance/describe/describe-instances';
import { listNoticed } from '../../instance/describe/spot-notice';
import { isRefusal } from '../../instance/stop/required-tags';
import { managedInstance, type ManagedInstance } from '../../instance/stop/managed';
import { isResourceId } from '../../instance/stop/resource-id';
import { stopAndWait } from '../../instance/stop/stop-and-wait';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { requiredRunTags, requiredTags } from '../../context/required-tags';
import { Waiting } from '../../instance/describe/wait-message';
import { steadyNow } from '../../system/moment';
import { sleep } from '../../system/sleep';
import { waitForLeaseExpiry } from '../record/lease';
import type { RunRecord } from '../record/record';
import type { RunContext } from '../../context/types';

/** How long EC2 takes to end an instance after the end of a run that it interrupted: its notice of two minutes, and a margin, ms. */
const NOTICE_MS = 150_000;
/** Between two looks whether it has ended, ms. */
const GONE_POLL_MS = 2_000;

/**
 * Terminates the instance of a run that was interrupted, before the run resumes on another one: two instances must not
 * write one run. The record only names it; EC2 must say that it was launched for this run.
 * @param own the instances that this command itself brought up for the run, whatever run they were launched for.
 * @returns what EC2 says of it; null where it is gone.
 * @throws Problem where it lives and is not this run's.
 */
export async function endInterrupted(
  context: RunContext,
  run: Pick<RunRecord, 'id' | 'instance' | 'endedAt'>,
  own: readonly string[],
  signal: AbortSignal,
): Promise<ManagedInstance | null> {
  const { aws, printer } = context;
  if (!isResourceId('instance', run.instance)) return null;
  const required = own.includes(run.instance)
    ? await requiredTags(context, ['store'])
    : await requiredRunTags(context, run.id);
  try {
    const instance = await managedInstance(aws, run.instance, required, { signal });
    if (instance) await stopAndWait(aws, { instance, how: 'terminate' }, printer, signal);
    return instance;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    // One that ends is no second writer, whoever launched it.
    if (await isGone(context, run, signal)) return null;
    throw new Problem(error.code, `${error.what} The record of ${sanitizeForTerminal(run.id)} names it.`, {
      next: 'To train on another instance, run the same command with --rerun. If the instance is yours, run remote-down and then the same command.',
      cause: error,
    });
  }
}

/**
 * Terminates the instances of other nodes of an interrupted run that AWS has given notice to, too: the next attempt would
 * be interrupted there as well. What they have saved is in the store by then.
 * @param nodes of the interrupted attempt.
 */
export async function endNoticed(
  context: RunContext,
  run: Pick<RunRecord, 'id' | 'endedAt'>,
  nodes: readonly { rank: number; instance: string }[],
  own: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const noticed = await listNoticed(
    context.aws,
    nodes.map(({ instance }) => instance),
    signal,
  );
  for (const { rank, instance } of nodes) {
    if (!noticed.includes(instance)) continue;
    const what = context.configuration.train.minNodes === undefined ? 'gets another, too' : 'ends, too';
    context.printer.line(`AWS is about to take ${instance} away as well: node ${rank} of ${run.id} ${what}.`);
    await waitForLeaseExpiry(context, run.id, signal, rank);
    await endInterrupted(context, { ...run, instance }, own, signal);
  }
}

/** Whether an instance does not live. One that EC2 is about to take away is waited for, until the notice is over. */
async function isGone(
  { aws, printer }: RunContext,
  { instance, endedAt }: Pick<RunRecord, 'instance' | 'endedAt'>,
  signal: AbortSignal,
): Promise<boolean> {
  const until = steadyNow() + Math.min(NOTICE_MS, (endedAt ?? 0) + NOTICE_MS - Date.now());
  const waiting = new Waiting(printer, `Waiting for ${instance}, which EC2 is taking away`);
  try {
    for (;;) {
      const found = await describeInstance(aws, instance, signal);
      if (!found || !isAlive(found)) return true;
      if (steadyNow() >= until) return false;
      await sleep(GONE_POLL_MS, signal);
    }
  } finally {
    waiting.end();
  }
}
