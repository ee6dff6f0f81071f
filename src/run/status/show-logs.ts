import { resolveNode } from '../find/find-node';
import { resolveRun } from '../find/find-run';
import { startOfLog } from '../follow/log-offset';
import type { RunRecord } from '../record/record';
import type { RunContext } from '../../context/types';
import { streamNodeLogs } from '../follow/node-logs';
import { streamRunLog } from '../follow/show-run';

export interface ShowLogsOptions {
  /** An id or `last`; absent: the latest. */
  run?: string;
  since?: string;
  tail?: number;
  /** The rank of a node, or `all`; absent: the first. */
  node?: string | number;
  /** Until the run has ended (default). */
  follow?: boolean;
}

/** Prints a run's log, from its start or a later point, and follows it to the run's end. @returns the run as it is then. */
export async function showLogs(
  context: RunContext,
  { run, since, tail, node, follow }: ShowLogsOptions,
  signal: AbortSignal,
): Promise<RunRecord> {
  if (node === 'all') {
    const { record } = await resolveRun(context, run);
    return streamNodeLogs(context, record, { signal, since, tail, once: follow === false });
  }
  const { record } = await resolveNode(context, run, node);
  const from = await startOfLog(context, record, { since, tail });
  return streamRunLog(context, record, { signal, from, once: follow === false });
}
