import type { SyncReply } from '../command/plan';
import { RemoteFailure } from '../command/remote';
import { Problem } from '../report/problem';
import { difference, lackingContents } from '../snapshot/diff';
import type { Recipes } from '../snapshot/recipes';
import { EMPTY_SNAPSHOT, type Snapshot } from '../snapshot/snapshot';
import { planSync } from './plan-sync';
import type { Delivery, Freight, SyncContext, SyncStrategy } from './strategy';
import { isUnknownThere } from './synchronise';
import type { Watcher } from './watcher';

/** Contents of so many bytes, compressed, ride in the edit itself. */
const ROOM = 1024 * 1024;

/** What an instance needs at the most: ms for each file, bytes in each ms. */
const EACH = 5;
const SLOWEST = 1024;

export interface EditResult {
  reply: SyncReply;
  /** Paths that came or are otherwise, and those that went; all paths came where nothing was known of the tree. */
  changed: string[];
  gone: string[];
  /** Bytes of contents that were sent, uncompressed. */
  bytes: number;
  delivery: Pick<Delivery, 'where' | 'located'>;
}

/**
 * Brings the tree from what it acknowledged last to another snapshot by one edit. If it turns out to hold something
 * else, the next edit names everything.
 * @throws FileMoved where a file is no longer what was scanned; WatcherGone; RemoteFailure.
 */
export async function sendEdit(
  context: SyncContext,
  strategy: SyncStrategy,
  watcher: Watcher,
  of: { wanted: Snapshot; acknowledged: Snapshot | null; recipes: Recipes; force: boolean },
): Promise<EditResult> {
  const { wanted, acknowledged, recipes } = of;
  const { signal } = context;
  const lacking = lackingContents(acknowledged ?? EMPTY_SNAPSHOT, wanted);
  // It lies in the store as a pack does, for a shorter time: what may not be in a command's history may be in it.
  const travel = { ...context.travel, inline: true, room: ROOM, isSecret: () => false };
  const freight = { wanted, base: acknowledged, lacking, recipes };
  const delivery = await deliver({ ...context, travel }, strategy, freight);
  try {
    const base = acknowledged && { snapshot: acknowledged.id, history: [], packs: [] };
    const { gone, changed } = difference(acknowledged ?? EMPTY_SNAPSHOT, wanted);
    const delta = acknowledged && { gone, changed };
    const plan = { snapshot: wanted, base, before: acknowledged, delta, delivery, asRecord: false, force: of.force };
    const sync = await planSync(context, plan);
    const bytes = lacking.reduce((sum, { size }) => sum + size, 0);
    const work = (gone.length + changed.length) * EACH + bytes / SLOWEST;
    const reply = (await watcher.send(sync, { signal, work }))!;
    if (reply.head !== wanted.id) throw new Problem('HEAD_MISMATCH', 'The instance acknowledged another snapshot.');
    return { reply, changed: changed.map(({ path }) => path), gone, bytes, delivery };
  } catch (error) {
    if (!acknowledged || !(error instanceof RemoteFailure) || error.remoteCode !== 'NEEDS') throw error;
    context.reporter.detail(`The tree holds something else than was acknowledged; naming everything.`);
    return await sendEdit(context, strategy, watcher, { ...of, acknowledged: null });
  } finally {
    await context.store.delete(delivery.leftovers).catch(() => undefined);
  }
}

/** Everything that an edit names is there before the edit is. */
async function deliver(context: SyncContext, strategy: SyncStrategy, freight: Freight): Promise<Delivery> {
  try {
    const delivery = await strategy.deliver(context, freight);
    await delivery.sent;
    return delivery;
  } catch (error) {
    if (!strategy.otherwise || !isUnknownThere(error)) throw error;
    return deliver(context, strategy.otherwise, freight);
  }
}
