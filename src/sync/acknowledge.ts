import type { Snapshot } from '../snapshot/snapshot';
import { rememberHead, storeHead, type Head } from './head';
import type { PreparedRecord } from './prepare-record';
import type { SyncContext } from './strategy';

/** What instances have acknowledged, and the record of it. */
export interface Acknowledged {
  instances: readonly string[];
  snapshot: Snapshot;
  base: Head | null;
  /** Null where there was nothing new to write down. */
  record: PreparedRecord | null;
}

/** A ref that nothing changes is written again after so long, ms: `prune` tells by its age that nobody uses the tree. */
const RENEWED = 24 * 3_600_000;

/**
 * After the command: remembers the head, here and in the store, tells others of the packs, removes what is of no more
 * use. Nothing of it can fail the sync. Never rejects.
 */
export async function acknowledge(
  context: SyncContext,
  of: { leftovers: string[] } & (Acknowledged | Partial<Record<keyof Acknowledged, undefined>>),
): Promise<void> {
  const { reporter, store, index } = context;
  await Promise.all([
    of.snapshot &&
      keepHead(context, of).catch((error: Error) =>
        reporter.warn(`the store does not know of this sync, so others' next one names everything: ${error.message}`),
      ),
    index.publish().catch((error: Error) => reporter.warn(`others can't use what was uploaded: ${error.message}`)),
    store
      .delete(of.leftovers)
      .catch((error: Error) =>
        reporter.warn(`what was sent is still in the store, until npx nx-ec2 prune: ${error.message}`),
      ),
  ]);
}

async function keepHead(context: SyncContext, { instances, snapshot, base, record }: Acknowledged): Promise<void> {
  const helper = context.remote.helper;
  const { history, packs } = record ?? base!;
  const head = { snapshot: snapshot.id, history, packs, helper };
  const current = !record && base!.helper === helper && Date.now() - base!.written < RENEWED;
  const remember = (written: number) => {
    for (const instance of instances) rememberHead(context, instance, { ...head, written }, snapshot);
  };
  // Remembered here before anyone else is told: a kill in between costs others a repair, and this machine nothing.
  remember(current ? base!.written : record ? Date.now() : base!.written);
  if (current) return;
  // The record first: whoever reads the head finds what it names.
  await record?.stored();
  await Promise.all(instances.map((instance) => storeHead(context, instance, head)));
  if (!record) remember(Date.now());
}
