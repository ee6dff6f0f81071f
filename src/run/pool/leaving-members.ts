import { requiredTags } from '../../context/required-tags';
import type { RunContext } from '../../context/types';
import { managedInstance } from '../../instance/stop/managed';
import { stopAndWait } from '../../instance/stop/stop-and-wait';
import { sleep } from '../../system/sleep';
import { runsOn } from '../find/runs-on-instance';

/** Between two looks whether a member has ended, ms. */
const POLL_MS = 2_000;

/**
 * Terminates members of a pool that AWS is about to take away, as soon as what ran there has saved: others can be launched
 * in their places then.
 * @param wait waits for a while if none can be ended yet. @returns whether to look at the pool again.
 */
export async function endLeaving(
  context: RunContext,
  ids: readonly string[],
  { wait, signal }: { wait: boolean; signal: AbortSignal },
): Promise<boolean> {
  const ended = await Promise.all(ids.map((id) => endUnused(context, id, signal)));
  if (ended.includes(true)) return true;
  if (wait) await sleep(POLL_MS, signal);
  return wait;
}

async function endUnused(context: RunContext, id: string, signal: AbortSignal): Promise<boolean> {
  const { aws, printer } = context;
  const runs = await runsOn(context, id, signal);
  if (runs === 'silent' || runs.length) return false;
  try {
    const instance = await managedInstance(aws, id, await requiredTags(context), { signal });
    if (instance) await stopAndWait(aws, { instance, how: 'terminate' }, printer, signal);
    return true;
  } catch (error) {
    signal.throwIfAborted();
    // AWS ends it anyway.
    printer.detail(`${id} could not be terminated: ${(error as Error).message}`);
    return false;
  }
}
