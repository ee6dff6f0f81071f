import { Problem } from '../../report/problem';
import type { Printer } from '../../report/printer';
import type { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';
import { mapConcurrent } from '../../system/side-by-side';
import { steadyNow } from '../../system/moment';
import { sleep } from '../../system/sleep';
import { HEARTBEAT_TIMEOUT_MS } from './liveness';
import { RecordUnverified } from './signed-record';
import { readNodeRecord, type ReadRecord, type RunRecord } from './record';

/** Records that are read at once. */
const CONCURRENCY = 8;
const POLL_MS = 500;

interface Place {
  store: Store;
  keys: StoreKeys;
}

/**
 * The records of the nodes of a run but for the first, in the order of their ranks; none where it has one node.
 * @throws Problem `RECORD_UNVERIFIED` where one is missing, can't be verified, or is older than the one that the first
 * node has seen before it said that the run has succeeded: what its node has saved is not known then.
 */
export async function readOtherNodes(at: Place, run: RunRecord): Promise<RunRecord[]> {
  const found = await lookAtNodes(at, run.id, run.nodes.length);
  return found.map((read, n) => {
    if (read) {
      if (isLastOf(run, n + 1, read.record)) return read.record;
      throw new RecordUnverified(
        run.id,
        `the record of node ${n + 1} is older than the last one of that node, which the first node has seen`,
        'An old record was put back: check who may write to the bucket. The files of the other nodes are fetched with remote-pull --node=<rank>.',
      );
    }
    throw new Problem('RECORD_UNVERIFIED', `The store has no record of node ${n + 1} of ${run.id}.`, {
      next: 'Another program has deleted it: check who may write to the bucket. The files of the other nodes are fetched with remote-pull --node=<rank>.',
    });
  });
}

/** Whether the record of a node is its last one; true where the run's record says nothing of it. */
function isLastOf(run: RunRecord, rank: number, { state, attempt, heartbeat, outcome }: RunRecord): boolean {
  if (run.state !== 'ended' || run.outcome !== 'succeeded') return true;
  const named = run.nodes[rank].heartbeat;
  if (state !== 'ended' || outcome !== 'succeeded' || attempt !== run.attempt) return false;
  return named !== null && heartbeat >= named;
}

/**
 * Waits until the other nodes of a run that has ended have saved what they wrote. One that is silent is not waited for.
 */
export async function waitForOtherNodes(
  at: Place & { printer: Printer },
  run: RunRecord,
  signal?: AbortSignal,
): Promise<void> {
  const began = steadyNow();
  let said = false;
  for (;;) {
    const found = await lookAtNodes(at, run.id, run.nodes.length);
    const left = found.flatMap((read, n) => (read?.record.state === 'ended' ? [] : [{ rank: n + 1, read }]));
    if (!left.length) return;
    const silent = left.filter(({ read }) => (read?.age ?? steadyNow() - began) > HEARTBEAT_TIMEOUT_MS);
    if (silent.length) {
      const ranks = silent.map(({ rank }) => rank).join(', ');
      return at.printer.warn(
        `${silent.length === 1 ? `Node ${ranks} of ${run.id} has` : `The nodes ${ranks} of ${run.id} have`} ended without saying that all files are saved.`,
      );
    }
    if (!said) at.printer.detail(`Waiting until node ${left.map(({ rank }) => rank).join(', ')} has saved its files.`);
    said = true;
    await sleep(POLL_MS, signal);
  }
}

/** The records of the nodes but for the first, as they are now. @param count how many the run has */
export async function lookAtNodes({ store, keys }: Place, id: string, count: number): Promise<(ReadRecord | null)[]> {
  const found = new Array<ReadRecord | null>(Math.max(0, count - 1)).fill(null);
  await mapConcurrent(found.keys(), CONCURRENCY, async (n) => {
    found[n] = await readNodeRecord(store, keys, id, n + 1);
  });
  return found;
}
