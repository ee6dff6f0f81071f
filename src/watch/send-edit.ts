import type { SyncReply } from '../command/plan';
import { RemoteFailure } from '../command/remote-failure';
import { Problem } from '../report/problem';
import { difference, missingContents } from '../snapshot/diff';
import type { Recipes } from '../snapshot/recipes';
import { EMPTY_SNAPSHOT, type Snapshot } from '../snapshot/snapshot';
import { planSync } from '../sync/pipeline/plan-sync';
import type { Transfer, TransferRequest, Transport } from '../sync/transport/transport';
import { isNotImplemented } from '../sync/pipeline/retry-policy';
import type { Watcher } from './watcher-client';
import type { SyncContext } from '../sync/context';

/** Contents of so many bytes, compressed, ride in the edit itself. */
const MAX_INLINE_BYTES = 1024 * 1024;

/** What an instance needs at the most: ms for each file, bytes in each ms. */
const PER_FILE_MS = 5;
const SLOWEST_BYTES_PER_MS = 1024;

export interface EditResult {
  reply: SyncReply;
  /** Paths that came or are otherwise, and those that went; all paths came where nothing was known of the tree. */
  changed: string[];
  deleted: string[];
  /** Bytes of contents that were sent, uncompressed. */
  bytes: number;
  transfer: Pick<Transfer, 'where' | 'packByChunk'>;
}

/**
 * Brings the tree from what it acknowledged last to another snapshot by one edit. If it turns out to hold something
 * else, the next edit names everything.
 * @throws FileMoved where a file is no longer what was scanned; WatcherGone; RemoteFailure.
 */
export async function sendEdit(
  context: SyncContext,
  strategy: Transport,
  watcher: Watcher,
  of: { wanted: Snapshot; acknowledged: Snapshot | null; recipes: Recipes; force: boolean },
): Promise<EditResult> {
  const { wanted, acknowledged, recipes } = of;
  const { signal } = context;
  const missing = missingContents(acknowledged ?? EMPTY_SNAPSHOT, wanted);
  // It lies in the store as a pack does, for a shorter time: what may not be in a command's history may be in it.
  const transferOptions = {
    ...context.transferOptions,
    inline: true,
    inlineLimit: MAX_INLINE_BYTES,
    isSecret: () => false,
  };
  const request = { wanted, base: acknowledged, missing, recipes };
  const transfer = await deliver({ ...context, transferOptions }, strategy, request);
  try {
    const base = acknowledged && { snapshot: acknowledged.id, history: [], packs: [] };
    const { deleted, changed } = difference(acknowledged ?? EMPTY_SNAPSHOT, wanted);
    const delta = acknowledged && { deleted, changed };
    const plan = { snapshot: wanted, base, before: acknowledged, delta, transfer, asManifest: false, force: of.force };
    const sync = await planSync(context, plan);
    const bytes = missing.reduce((sum, { size }) => sum + size, 0);
    const work = (deleted.length + changed.length) * PER_FILE_MS + bytes / SLOWEST_BYTES_PER_MS;
    const reply = (await watcher.send(sync, { signal, work }))!;
    if (reply.head !== wanted.id) throw new Problem('HEAD_MISMATCH', 'The instance acknowledged another snapshot.');
    return { reply, changed: changed.map(({ path }) => path), deleted, bytes, transfer };
  } catch (error) {
    if (!acknowledged || !(error instanceof RemoteFailure) || error.remoteCode !== 'CONTENT_MISSING') throw error;
    context.printer.detail(`The tree is not what was acknowledged; sending the full list.`);
    return await sendEdit(context, strategy, watcher, { ...of, acknowledged: null });
  } finally {
    await context.store.delete(transfer.leftovers).catch(() => undefined);
  }
}

/** Everything that an edit names is there before the edit is. */
async function deliver(context: SyncContext, strategy: Transport, request: TransferRequest): Promise<Transfer> {
  try {
    const transfer = await strategy.deliver(context, request);
    await transfer.sent;
    return transfer;
  } catch (error) {
    if (!strategy.fallback || !isNotImplemented(error)) throw error;
    return deliver(context, strategy.fallback, request);
  }
}
