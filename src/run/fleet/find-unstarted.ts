import { sleep } from '../../system/sleep';
import { findFleet } from '../../instance/fleet/find-fleet';
import { findDuplicateRun, mayTakeResult } from '../find/find-run';
import { latestRunForKey, type LastRun } from '../find/run-key-index';
import { awaitsReplacement } from '../record/interruption';
import type { StartedRun } from '../start/start-run';
import { isFinal } from './wait-first-attempt';
import { steadyNow } from '../../system/moment';
import type { RunContext } from '../../context/types';

/** If a run was named longer ago than this, ms, EC2 lists its fleet, or its client was killed. */
const UNSTARTED_AGE_MS = 20_000;
/** Whoever writes to the bucket can name other runs again and again: nothing is waited for longer than this, ms. */
const CONCURRENT_START_TIMEOUT_MS = 60_000;
/** Between two looks, ms. */
const FIND_POLL_MS = 1_000;

/** A run whose fleet was not seen to begin it. */
export interface UnstartedRun {
  id: string;
  /** Those that were created; empty: there is its template alone. */
  fleets: string[];
}

/**
 * The last run of a training. One that was named just now, and of which nothing is there yet, is another client's that
 * is at it: what comes of it is waited for.
 */
export async function waitForConcurrentStart(
  context: RunContext,
  key: string,
  signal: AbortSignal,
  timeoutMs = CONCURRENT_START_TIMEOUT_MS,
): Promise<LastRun> {
  const since = steadyNow();
  for (let said = false; ; said = true) {
    const last = await latestRunForKey(context, key);
    if (last.run === null || last.record || last.age > UNSTARTED_AGE_MS || steadyNow() - since > timeoutMs) return last;
    const { fleets, template } = await findFleet(context.aws, last.run, signal);
    if (fleets.length || template) return last;
    if (!said) context.printer.line(`${last.run} of this training was started a moment ago; waiting for its fleet.`);
    await sleep(FIND_POLL_MS, signal);
  }
}

/** A run of this training that needs no other, or that has what a fleet is made of; null where there is none. */
export async function findExistingRun(
  context: RunContext,
  key: string,
  last: LastRun,
): Promise<Pick<StartedRun, 'run' | 'attached'> | UnstartedRun | null> {
  const { found } = await findDuplicateRun(context, key);
  if (found && !awaitsReplacement(found.record)) return { run: found.record, attached: found.attached };
  if (last.run === null || (last.record && isFinal(last.record))) return null;
  const { fleets, template } = await findFleet(context.aws, last.run);
  if (fleets.length && last.record)
    return (await mayTakeResult(context, last.record)) ? { run: last.record, attached: 'running' } : null;
  // A template without a fleet is of one that was killed between the two.
  return fleets.length || (template && !last.record) ? { id: last.run, fleets } : null;
}
