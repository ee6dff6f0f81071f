import type { Snapshot } from '../../snapshot/snapshot';
import { cacheHead, storeHead, type Head } from './head';
import type { PreparedRecord } from './prepare-manifest';
import type { SyncContext } from '../context';

/** What instances are told to have, or have. */
export interface NewState {
  snapshot: Snapshot;
  base: Head | null;
  /** Null where there is nothing new to write down. */
  record: PreparedRecord | null;
}

/** A ref that nothing changes is written again after so long, ms: `prune` tells by its age that nobody uses the tree. */
const RENEWED = 24 * 3_600_000;

/**
 * Beside the command: tells everyone of the packs, and of the head that the trees are about to have. Nobody must
 * believe it: where the command fails, the next sync heals. Never rejects, and can't fail the sync.
 */
export async function publishHead(context: SyncContext, instances: readonly string[], state: NewState): Promise<void> {
  const { reporter, index } = context;
  await Promise.all([
    tell(context, instances, state).catch((error: Error) =>
      reporter.warn(`the store does not know of this sync, so others' next one names everything: ${error.message}`),
    ),
    index.publish().catch((error: Error) => reporter.warn(`others can't use what was uploaded: ${error.message}`)),
  ]);
}

async function tell(context: SyncContext, instances: readonly string[], state: NewState): Promise<void> {
  if (isCurrent(context, state)) return;
  // The record first: whoever reads the head finds what it names.
  await state.record?.store();
  await Promise.all(instances.map((instance) => storeHead(context, instance, newHead(context, state))));
}

function isCurrent(context: SyncContext, { record, base }: NewState): boolean {
  return !record && base!.runtime === context.remote.runtime && Date.now() - base!.written < RENEWED;
}

function newHead(context: SyncContext, { snapshot, record, base }: NewState) {
  const { history, packs } = record ?? base!;
  return { snapshot: snapshot.id, history, packs, runtime: context.remote.runtime };
}

/** After the command: this machine remembers what instances have acknowledged, and need not ask the next time. */
export function cacheHeads(context: SyncContext, instances: readonly string[], state: NewState): void {
  const written = isCurrent(context, state) ? state.base!.written : Date.now();
  for (const instance of instances)
    cacheHead(context, instance, { ...newHead(context, state), written }, state.snapshot);
}

/** Removes what was of use for the command alone. Never rejects. */
export async function deleteTemporaries({ store, reporter }: SyncContext, leftovers: string[]): Promise<void> {
  await store
    .delete(leftovers)
    .catch((error: Error) =>
      reporter.warn(`what was sent is still in the store, until npx nx-ec2 store prune: ${error.message}`),
    );
}
