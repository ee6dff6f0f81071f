import type { RunContext } from '../../context/types';
import { readNodeRecord, type ReadRecord } from './record';
import { sleep } from '../../system/sleep';

/** An instance resumes a run that has not ended only if its record was not written for this time, ms by S3's clock. */
export const LEASE_MS = 60_000;

/**
 * Waits until an instance may resume a run: returns at once if its end was recorded.
 * @param rank of the node that is to be resumed, of several. @param attempt the one that it is to begin: returns once it has.
 * @returns its record as it is then; null: it has none.
 */
export async function waitForLeaseExpiry(
  context: RunContext,
  run: string,
  signal?: AbortSignal,
  rank = 0,
  attempt = Infinity,
): Promise<ReadRecord | null> {
  for (;;) {
    const read = await readNodeRecord(context.store, context.keys, run, rank);
    if (!read || mayBeResumed(read) || read.record.attempt >= attempt) return read;
    await sleep(LEASE_POLL_MS, signal);
  }
}

/** Whether an instance may resume a run now, or a node of it. */
export function mayBeResumed({ record, age }: ReadRecord): boolean {
  return record.state === 'ended' || age >= LEASE_MS;
}

/** How often it is looked whether it was, ms. */
export const LEASE_POLL_MS = 1_000;
