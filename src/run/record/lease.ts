import type { RunContext } from '../../context/types';
import { readNodeRecord, type ReadRecord } from './record';
import { sleep } from '../../system/sleep';

/** An instance resumes a run that has not ended only if its record was not written for this time, ms by S3's clock. */
export const LEASE_MS = 60_000;

/**
 * Waits until an instance may resume a run: returns at once if its end was recorded.
 * @param rank of the node that is to be resumed, of several.
 * @returns its record as it is then; null: it has none.
 */
export async function waitForLeaseExpiry(
  context: RunContext,
  run: string,
  signal?: AbortSignal,
  rank = 0,
): Promise<ReadRecord | null> {
  for (;;) {
    const read = await readNodeRecord(context.store, context.keys, run, rank);
    if (!read || read.record.state === 'ended' || read.age >= LEASE_MS) return read;
    await sleep(LEASE_POLL_MS, signal);
  }
}

/** How often it is looked whether it was, ms. */
export const LEASE_POLL_MS = 1_000;
