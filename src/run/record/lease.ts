import { isTerminated } from '../../instance/describe/describe-instances';
import type { RunContext } from '../../context/types';
import { readNodeRecord, type ReadRecord } from './record';
import { sleep } from '../../system/sleep';

/**
 * An instance resumes a run that has not ended only if its record was not written for this time, ms by S3's clock, or if
 * EC2 says that the instance that wrote it is terminated.
 */
export const LEASE_MS = 60_000;

/** An attempt that EC2 says can't write any more: its instance is terminated. The next attempt need not wait for the lease. */
export interface TerminatedAttempt {
  instance: string;
  attempt: number;
}

export interface ResumableRecord extends ReadRecord {
  /** Absent: the run has ended, or its lease has, or it can't be resumed. */
  terminated?: TerminatedAttempt;
}

/**
 * Waits until an instance may resume a run: returns at once if its end was recorded, or EC2 says that its instance is
 * terminated.
 * @param rank of the node that is to be resumed, of several. @param attempt the one that it is to begin: returns once it has.
 * @returns its record as it is then; null: it has none.
 */
export async function waitForLeaseExpiry(
  context: RunContext,
  run: string,
  signal?: AbortSignal,
  rank = 0,
  attempt = Infinity,
): Promise<ResumableRecord | null> {
  for (;;) {
    const read = await readNodeRecord(context.store, context.keys, run, rank);
    if (!read || read.record.attempt >= attempt) return read;
    const resumable = await resumableRecord(context, read, signal);
    if (resumable) return resumable;
    await sleep(LEASE_POLL_MS, signal);
  }
}

/** The record of a run, or of a node of it, if an instance may resume it now; else null. */
export async function resumableRecord(
  { aws }: Pick<RunContext, 'aws'>,
  read: ReadRecord,
  signal?: AbortSignal,
): Promise<ResumableRecord | null> {
  const { record, age } = read;
  if (record.state === 'ended' || age >= LEASE_MS) return read;
  const { instance, attempt } = record;
  return (await isTerminated(aws, instance, signal)) ? { ...read, terminated: { instance, attempt } } : null;
}

/** How often it is looked whether it may, ms. */
export const LEASE_POLL_MS = 2_000;
