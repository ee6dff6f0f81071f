import type { RunRecord } from './record-poller';
import type { Problem } from '../../report/problem';

/** A record that was not written for so long is of a run that may be gone, ms; it is written every 10 s. */
export const HEARTBEAT_TIMEOUT_MS = 40_000;
/** After so long without a heartbeat, ms, EC2 is asked whether the instance is there; the instance itself is asked later. */
export const EC2_CHECK_MS = 15_000;
/** A run is followed for so long, ms, while its record is silent and its instance, which EC2 calls running, does not answer. */
export const UNREACHABLE_TIMEOUT_MS = 10 * 60_000;

/**
 * A run whose instance is gone. One whose training has succeeded is lost as well unless its record says that it has ended:
 * until then its results were still being saved. It counts as ended when it was last heard of.
 * @param heard how long ago that was, ms; Infinity: never.
 */
export function lost(record: RunRecord, why: Problem, heard: number): RunRecord {
  const { state, outcome, startedAt } = record;
  if (state === 'ended' || (outcome !== null && outcome !== 'succeeded')) return { ...record, state: 'ended' };
  const [reason] = why.message.split('\n');
  const message = outcome === null ? reason : `${RESULTS_LOST} (${reason.replace(/\.$/, '')})`;
  const ended = heard === Infinity ? startedAt : Math.max(startedAt ?? 0, Date.now() - heard);
  const failure = { code: why.code, message, exitCode: null };
  return { ...record, state: 'ended', outcome: 'lost', failure, endedAt: record.endedAt ?? ended };
}

/** Why a run is lost whose training has succeeded. */
const RESULTS_LOST = 'its training succeeded, but its instance ended before the results were saved';

/** Whether all that a run has left is in the store: its outcome is final then. */
export function isEnded({ state, outcome }: Pick<RunRecord, 'state' | 'outcome'>): boolean {
  return state === 'ended' && outcome !== null;
}
