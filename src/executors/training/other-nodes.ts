import type { InstanceContext, RunContext } from '../../context/types';
import type { RunFacts } from '../../command/plan';
import type { Scanned } from '../../project/scan-project';
import type { NextAttempt, PlannedRun } from '../../run/start/plan-run';
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

/** Whether a run that was found may lack nodes: the client that started it may have ended before it had started them all. */
export async function mayLackNodes(runContext: RunContext, { run, attached }: StartedRun): Promise<boolean> {
  const isStarting = attached === 'running' && run.nodes.length === 0 && run.attempt === 1;
  return runContext.configuration.train.nodes > 1 && isStarting && run.caller === (await runContext.caller());
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
