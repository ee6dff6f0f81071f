import { awaitsReplacement } from '../run/record/interruption';
import { HEARTBEAT_TIMEOUT_MS } from '../run/record/liveness';
import type { RunRecord } from '../run/record/record';
import { costOf } from '../run/status/cost';
import { callerName, stateOf } from '../run/status/status';
import type { RunRow } from './api';

/** Metrics of a row. */
const MAX_METRICS = 20;

/** A run in the list, by its record alone: the instance is not asked. @param heard ms since the record was written. */
export function rowOf(record: RunRecord, heard: number): RunRow {
  const { id, caller, instance, node, createdAt, startedAt, endedAt, metrics } = record;
  const isActive = record.state !== 'ended' || awaitsReplacement(record);
  return {
    id,
    state: stateOf({ ...record, heard, silent: record.state !== 'ended' && heard >= HEARTBEAT_TIMEOUT_MS }),
    isActive,
    by: callerName(caller),
    instance,
    nodes: node?.count ?? 1,
    createdAt,
    startedAt,
    endedAt,
    cost: costOf(record)?.usd ?? null,
    metrics: Object.entries(metrics.training).slice(0, MAX_METRICS),
    progress: metrics.progress,
  };
}
