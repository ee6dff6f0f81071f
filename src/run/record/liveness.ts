import type { RunRecord } from './record-poller';
import type { Problem } from '../../report/problem';

/** A record that was not written for so long is of a run that may be gone, ms; it is written every 10 s. */
export const HEARTBEAT_TIMEOUT_MS = 40_000;

/** A run whose instance is gone. */
export function lost(record: RunRecord, why: Problem): RunRecord {
  if (record.outcome !== null) return { ...record, state: 'ended' };
  const failure = { code: why.code, message: why.message.split('\n')[0], exitCode: null };
  return { ...record, state: 'ended', outcome: 'lost', failure };
}
