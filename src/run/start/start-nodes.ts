import type { RunFacts, TrainReply } from '../../command/plan';
import type { InstanceContext } from '../../context/types';
import type { Scanned, Workspace } from '../../project/scan-project';
import { push } from '../../project/sync-project';
import { mapConcurrent } from '../../system/side-by-side';
import { waitForLeaseExpiry } from '../record/lease';
import type { NextAttempt, PlannedRun } from './plan-run';

/** Nodes that are sent to at once. */
const CONCURRENCY = 8;

export interface StartNodesOptions {
  /** In order of their ranks; the first has the run already. */
  instances: readonly string[];
  scanned: Scanned;
  signal: AbortSignal;
  force?: boolean;
  nextAttempt?: NextAttempt;
}

/**
 * Starts the other nodes of a run that the first one has started. What they need is in the store by then. Each waits
 * for the others on its own, so a node that has been started already is left as it is.
 * @throws Problem of the first one that could not be started.
 */
export async function startOtherNodes(
  first: InstanceContext,
  workspace: Workspace,
  planned: PlannedRun,
  run: RunFacts,
  { instances, scanned, signal, force, nextAttempt }: StartNodesOptions,
): Promise<void> {
  first.allow(instances);
  const start = async (rank: number) => {
    const instance = instances[rank];
    const context = { ...first, ...first.at(instance), instance, instances: [instance] };
    const attempt = nextAttempt?.attempt;
    const before = nextAttempt && (await waitForLeaseExpiry(first, run.id, signal, rank, attempt));
    if (attempt !== undefined && before && before.record.attempt >= attempt) return;
    const next = nextAttempt && {
      ...nextAttempt,
      heartbeat: before?.record.heartbeat ?? 0,
      terminated: before?.terminated,
    };
    await push<TrainReply>(context, workspace, {
      signal,
      force,
      first: scanned,
      run: (snapshot) => planned.part(context, context.tree, snapshot, { next, node: { run: run.id, rank } }),
      needs: () => planned.needs(),
      storeFirst: true,
    });
  };
  await mapConcurrent(instances.slice(1).keys(), CONCURRENCY, (n) => start(n + 1));
}
