import type { Operation, SyncPart } from '../../command/plan';
import type { SendOptions } from '../../command/remote';
import type { Snapshot } from '../../snapshot/snapshot';
import type { SyncOptions } from './types';

/** How long a sync may take on the instance, seconds. */
export const EXECUTION_TIMEOUT_S = 3_600;

/** What the command does: the sync, and the run or the watcher that it starts. */
export async function operationOf(
  tree: string,
  sync: SyncPart,
  snapshot: Snapshot,
  request: Pick<SyncOptions, 'run' | 'watch'>,
): Promise<{ operation: Operation; options: SendOptions }> {
  const executionTimeout = EXECUTION_TIMEOUT_S;
  const run = await request.run?.(snapshot);
  if (run) {
    const confidential = Object.keys(run.env).length > 0 || run.resumeFrom !== null;
    // A plan that is not sealed may come to lie in the bucket: who can write there must not learn the key.
    const { signingKey, ...part } = run;
    const options = { comment: `nx-ec2: train ${run.id}`, executionTimeout, confidential, key: signingKey };
    return { operation: { op: 'train', tree, sync, run: part }, options };
  }
  const comment = `nx-ec2: ${request.watch ? 'watch' : 'sync'} ${snapshot.id.slice(0, 12)}`;
  const watch = await request.watch?.();
  return {
    operation: watch ? { op: 'watch', tree, sync, watch: watch.part } : { op: 'sync', tree, sync },
    options: { comment, executionTimeout, key: watch?.key },
  };
}
