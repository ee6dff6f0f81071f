import type { InstanceContext, RunContext } from '../../context/types';
import type { RunFacts } from '../../command/plan';
import type { Scanned } from '../../project/scan-project';
import type { NextAttempt, PlannedRun } from '../../run/start/plan-run';
import { resumableRecord } from '../../run/record/lease';
import { lookAtNodes } from '../../run/record/node-records';
import type { ReadRecord, RunRecord } from '../../run/record/record';
import { startOtherNodes } from '../../run/start/start-nodes';
import type { StartedRun } from '../../run/start/start-run';
import { cancelRun } from '../../run/stop/cancel';
import type { Target } from '../lib/run-target';

/** What the other nodes of a run are started with. */
export interface NodesRequest {
  target: Target;
  /** All nodes, in the order of their ranks. */
  instances: readonly string[];
  scanned: Scanned;
  planned: PlannedRun;
  force?: boolean;
  nextAttempt?: NextAttempt;
}

/** Starts the nodes beside the first one, unless all of them have started already. */
export async function startOthers(
  first: InstanceContext,
  { run, attached }: StartedRun,
  { target, instances, scanned, planned, force, nextAttempt }: NodesRequest,
): Promise<void> {
  const { workspace, signal } = target;
  const isHere = attached !== 'ended' && run.instance === first.instance;
  const isWaiting = isHere && run.nodes.length === 0 && run.caller === (await first.caller());
  if (instances.length === 1 || !isWaiting) return;
  await startOtherNodes(first, workspace, planned, run, { instances, scanned, signal, force, nextAttempt });
}

/** How the nodes that a run lacks are started. */
export interface LackingNodes {
  /** On which instances the nodes are, or were in the attempt before, as far as it is known. */
  known: Pick<RunRecord['nodes'][number], 'rank' | 'instance'>[];
  nextAttempt?: NextAttempt;
}

/**
 * Whether a run that was found lacks nodes: the client that started it, or its current attempt, may have ended before it
 * had started them all.
 * @returns null: it lacks none.
 */
export async function findLackingNodes(
  runContext: RunContext,
  { run, attached }: StartedRun,
): Promise<LackingNodes | null> {
  const { id, attempt, instance, node } = run;
  const count = node?.count ?? 1;
  const isStarting = attached === 'running' && run.nodes.length === 0;
  if (count === 1 || !isStarting || run.caller !== (await runContext.caller())) return null;
  const others = await lookAtNodes(runContext, id, count);
  // One that goes into the attempt by itself, as after an exit code that is retried, has not ended.
  const isLacking = async (read: ReadRecord | null) =>
    !read || (read.record.attempt < attempt && (await resumableRecord(runContext, read)) !== null);
  if (!(await Promise.all(others.map(isLacking))).includes(true)) return null;
  const known = others.flatMap((read, n) =>
    read ? [{ rank: n + 1, instance: read.record.instance, attempt: read.record.attempt }] : [],
  );
  // An instance may have had another rank in an earlier attempt: of two, `byRank` takes the later one here.
  known.sort((one, other) => one.attempt - other.attempt);
  return {
    known: [...known, { rank: 0, instance }],
    nextAttempt: attempt === 1 ? undefined : { id, attempt, heartbeat: 0 },
  };
}

/** Stops a run whose other nodes could not be started. @returns whether it was stopped. */
export async function stopIncomplete(first: InstanceContext, run: RunFacts, signal: AbortSignal): Promise<boolean> {
  try {
    await cancelRun(first, run, signal);
    return true;
  } catch (error) {
    first.printer.warn(`${run.id} could not be stopped: ${(error as Error).message}`);
    return false;
  }
}
