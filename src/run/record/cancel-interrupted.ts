import type { RunContext } from '../../context/types';
import { isResumable } from './interruption';
import { MAX_RECORD_BYTES, readRecord, type RunRecord } from './record';
import { openSigned, signRecord } from './signed-record';

/** How often the record is read again because somebody has written it in between. */
const MAX_TRIES = 5;

/**
 * Cancels a run between two attempts: it was interrupted, and the client that follows it, or the next one, would resume it.
 * Nothing trains then that could be told to stop, so its record says that it was cancelled: no instance takes it over.
 * @param interrupted the run as it was found.
 * @returns its record as it is now; null where it is not interrupted, has ended, or another attempt has begun.
 */
export async function cancelInterrupted(
  { store, keys }: RunContext,
  interrupted: RunRecord,
): Promise<RunRecord | null> {
  if (!isResumable(interrupted)) return null;
  const { id } = interrupted;
  const key = `${keys.run(id)}record.json`;
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const stored = await store.getWithETag(key, MAX_RECORD_BYTES);
    if (!stored) return null;
    const bytes = await openSigned(store.signingKeys, { keys, run: id }, stored.bytes);
    const known = await store.signingKeys.forVerification({ keys, run: id });
    const signer = known.keys.find((each) => signRecord(each.key, id, bytes).equals(stored.bytes));
    const record = JSON.parse(bytes.toString('utf8')) as RunRecord;
    if (!signer || record.attempt !== interrupted.attempt) return null;
    // It may have ended by itself since it was found: its results are in the store.
    if (record.state === 'ended' && !isResumable(record)) return null;
    // The fields of a later version stay as they are.
    const now = Date.now();
    const cancelled = {
      ...record,
      state: 'ended',
      outcome: 'cancelled',
      stop: { reason: 'cancelled', at: now },
      endedAt: record.endedAt ?? now,
      heartbeat: record.heartbeat + 1,
    };
    const signed = signRecord(signer.key, id, Buffer.from(JSON.stringify(cancelled)));
    if (await store.compareAndSwap(key, signed, stored.etag)) return (await readRecord(store, keys, id))!.record;
  }
  return null;
}

/**
 * What somebody else has done since with a run that was interrupted.
 * @returns its record where it was cancelled, or where another attempt has begun; else null.
 */
export async function changedSince(
  { store, keys }: RunContext,
  { id, attempt }: Pick<RunRecord, 'id' | 'attempt'>,
): Promise<RunRecord | null> {
  const record = (await readRecord(store, keys, id))?.record;
  if (!record) return null;
  return record.attempt > attempt || (record.state === 'ended' && record.outcome === 'cancelled') ? record : null;
}
