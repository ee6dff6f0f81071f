import type { RunContext } from '../../context/types';
import { readRecord } from './record';
import { sleep } from '../../system/sleep';

/** An instance goes on with a run that did not end only when the store was not told of it for so long, ms by S3's clock. */
export const LEASE_MS = 60_000;

/** Waits until an instance may go on with a run: at once where its end was recorded. */
export async function waitForLeaseExpiry(session: RunContext, run: string, signal?: AbortSignal): Promise<void> {
  for (;;) {
    const read = await readRecord(session.store, session.keys, run);
    if (!read || read.record.state === 'ended' || read.age >= LEASE_MS) return;
    await sleep(LEASE_POLL_MS, signal);
  }
}

/** How often it is looked whether it was, ms. */
export const LEASE_POLL_MS = 1_000;
