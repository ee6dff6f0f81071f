import { isDeepStrictEqual } from 'node:util';
import type { Snapshot } from '../../snapshot/snapshot';
import { cacheHead, loadCachedHead, storeHead, type Head } from './head';
import type { PreparedManifest } from './prepare-manifest';
import type { SyncContext } from '../context';

/** What instances are told to have, or have. */
export interface NewState {
  snapshot: Snapshot;
  base: Head | null;
  /** Null if the store has it. */
  manifest: PreparedManifest | null;
}

/** An unchanged ref is written again after this time, ms: `prune` takes the tree of an old ref for unused. */
const REF_RENEWAL_MS = 24 * 3_600_000;

/**
 * Publishes the packs, and the head that the trees are about to have, while the command runs. It is only a hint: if the
 * command fails, the next sync repairs it. Never rejects, and can't fail the sync.
 */
export async function publishHead(context: SyncContext, instances: readonly string[], state: NewState): Promise<void> {
  const { printer, index } = context;
  await Promise.all([
    tell(context, instances, state).catch((error: Error) =>
      printer.warn(
        `could not record this sync in the store, so the next sync from another machine sends the full file list: ${error.message}`,
      ),
    ),
    index
      .publish()
      .catch((error: Error) =>
        printer.warn(
          `could not publish the index of the uploaded packs, so other machines upload their content again: ${error.message}`,
        ),
      ),
  ]);
}

async function tell(context: SyncContext, instances: readonly string[], state: NewState): Promise<void> {
  if (isCurrent(context, state)) return;
  // The manifest first: whoever reads the head must find what it names.
  await state.manifest?.store();
  await Promise.all(instances.map((instance) => storeHead(context, instance, newHead(context, state))));
}

function isCurrent(context: SyncContext, { manifest, base }: NewState): boolean {
  return !manifest && base!.runtime === context.remote.runtime && Date.now() - base!.written < REF_RENEWAL_MS;
}

function newHead(context: SyncContext, { snapshot, manifest, base }: NewState) {
  const { history, packs } = manifest ?? base!;
  return { snapshot: snapshot.id, history, packs, runtime: context.remote.runtime };
}

/** Caches the heads that instances have acknowledged, so that the next sync need not ask. */
export function cacheHeads(context: SyncContext, instances: readonly string[], state: NewState): void {
  const current = isCurrent(context, state);
  const head = { ...newHead(context, state), written: current ? state.base!.written : Date.now() };
  for (const instance of instances) {
    // Writing it again would take longer than the scan of many files.
    if (current && isCached(context, instance, head)) continue;
    cacheHead(context, instance, head, state.snapshot);
  }
}

function isCached(context: SyncContext, instance: string, head: Omit<Head, 'read'>): boolean {
  const { read: _, ...known } = loadCachedHead(context, instance) ?? {};
  return isDeepStrictEqual(known, head);
}

/** Deletes objects that only the command needed. Never rejects. */
export async function deleteTemporaries({ store, printer }: SyncContext, leftovers: string[]): Promise<void> {
  await store
    .delete(leftovers)
    .catch((error: Error) =>
      printer.warn(
        `could not delete temporary objects of this sync from the store; "npx nx-ec2 store prune" will: ${error.message}`,
      ),
    );
}
