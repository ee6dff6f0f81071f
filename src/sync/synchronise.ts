import type { Operation, RunPart, SyncPart, SyncReply, TrainReply } from '../command/plan';
import { RemoteFailure } from '../command/remote';
import { printable } from '../report/terminal-text';
import { formatCount } from '../report/units';
import { difference, lackingContents } from '../snapshot/diff';
import type { Recipes } from '../snapshot/recipes';
import { EMPTY_SNAPSHOT, formatRecords, type Snapshot } from '../snapshot/snapshot';
import { acknowledge } from './acknowledge';
import { readHead, type Head } from './head';
import { FileMoved, type Delivery, type SyncContext, type SyncStrategy } from './strategy';

export interface Synchronised<R extends SyncReply> {
  snapshot: Snapshot;
  reply: R;
  /** Files and bytes (uncompressed) that were sent, the bytes that went to S3, and those that need not. */
  sent: { files: number; bytes: number; uploaded: number; saved: number };
  /** Commands that it took: one, unless the instance lacked what it was thought to have. */
  commands: number;
  /** What remains to be done and may be done beside what follows: the record of the head, removing the archive. Never rejects. */
  settled: Promise<void>;
}

export interface SyncWishes {
  /** Scans the workspace: asked again when a file changed on the way. */
  scan: () => Promise<{ snapshot: Snapshot; recipes: Recipes }>;
  /** Run as soon as it is known that nothing is known of the instance: everything that must hold is asked for. */
  preflight: () => Promise<void>;
  /** Called when it is known what will be sent, before anything is. */
  onPlan: (snapshot: Snapshot, head: Snapshot | null, send: { files: number; bytes: number }) => void;
  /** What was changed on the instance is overwritten, and not kept. */
  force?: boolean;
  /** The run to start with the same command. It learns the snapshot's id. */
  run?: (snapshot: Snapshot) => RunPart;
  /** Called just before the command is sent. */
  onSend?: (snapshot: Snapshot) => void;
}

const ATTEMPTS = 4;
const LIMITS = { entries: 2_000_000, bytes: 2 ** 50 };
/** Spare packs that a plan names for a tree that holds something else: each costs a signature. */
const SPARES = 32;
/** What a command fetches that was put there for it: where it lacks, naming everything is no help. */
const SENT = new Set(['helper', 'plan', 'archive']);

/**
 * Brings the instance's tree to the workspace's snapshot with one SSM command, which also starts the run where one is
 * wanted. If the tree holds something else than was thought, it is healed by that same command; what can't be had
 * there, or changes on the way, is sent anew.
 */
export async function synchronise<R extends SyncReply = TrainReply>(
  context: SyncContext,
  strategy: SyncStrategy,
  wishes: SyncWishes,
): Promise<Synchronised<R>> {
  const reading = readHead(context);
  reading.catch(() => undefined);
  let scanned = await wishes.scan();
  let head: Head | null;
  try {
    head = await reading;
  } catch (error) {
    // Why the store can't be read is the preflight's to say, all of it in one go.
    await wishes.preflight();
    throw error;
  }
  context.remote.assumeHelper(head?.helper);
  if (head === null) await wishes.preflight();

  const leftovers: string[] = [];
  const sent = { files: 0, bytes: 0, uploaded: 0, saved: 0 };
  let base = head;
  let diagnosed = false;
  let offered: SyncPart['packs'] = [];
  try {
    for (let commands = 1; ; commands++) {
      const { snapshot, recipes } = scanned;
      const unchanged = base?.snapshot === snapshot.id;
      const before = unchanged ? snapshot : readBase(base);
      if (!before) base = null;
      const lacking = unchanged ? [] : lackingContents(before ?? EMPTY_SNAPSHOT, snapshot);
      const bytes = lacking.reduce((sum, { size }) => sum + size, 0);
      wishes.onPlan(snapshot, before, { files: lacking.length, bytes });
      try {
        const [delivery] = await Promise.all([
          strategy.deliver(context, { wanted: snapshot, base: before, lacking, recipes }),
          context.remote.storeHelper(),
        ]);
        leftovers.push(...delivery.leftovers);
        sent.files = lacking.length;
        sent.bytes = bytes;
        sent.uploaded += delivery.uploaded;
        sent.saved = delivery.saved;
        const sync = await planSync(context, snapshot, base, before, delivery);
        sync.force = wishes.force ?? false;
        offered = sync.packs;
        const run = wishes.run?.(snapshot);
        const operation: Operation = run
          ? { op: 'train', tree: context.tree, sync, run }
          : { op: 'sync', tree: context.tree, sync };
        wishes.onSend?.(snapshot);
        const reply = await context.remote.send<R>(operation, {
          comment: run ? `nx-ec2: train ${run.id}` : `nx-ec2: sync ${snapshot.id.slice(0, 12)}`,
          executionTimeout: 3_600,
          confidential: run !== undefined && Object.keys(run.env).length > 0,
          signal: context.signal,
        });
        const settled = acknowledge(context, { snapshot, recipes, base, before, where: delivery.where, leftovers });
        return { snapshot, reply, sent, commands, settled };
      } catch (error) {
        if (commands >= ATTEMPTS || context.signal?.aborted) throw error;
        const code = error instanceof RemoteFailure ? error.remoteCode : '';
        const detail = error instanceof RemoteFailure ? error.detail : {};
        if (code === 'NEEDS' && base !== null) {
          // Another caller synced, the disk was replaced, or files were changed there, and its history did not help.
          context.reporter.detail(
            `The instance lacks ${formatCount(Number(detail.count ?? 0), 'content')}; naming everything.`,
          );
          base = null;
        } else if (code === 'NEEDS' && offered.length) {
          forgetPacks(context, offered, `do not hold what was thought`);
        } else if (code === 'PACK_MISMATCH' || code === 'CHUNK_MISMATCH' || isMissingPack(code, detail)) {
          const bad = offered.filter(({ sha256 }) => sha256 === detail.pack);
          if (!bad.length) throw error;
          forgetPacks(context, bad, `can't be used (${code})`);
          // One that only the base's history names would be named again.
          if (base?.packs.some(([sha256]) => sha256 === detail.pack)) base = null;
        } else if (base !== null && isMissing(code, detail) && !SENT.has(String(detail.what))) {
          // A record of the base is gone: it was not known that somebody needs it.
          context.reporter.detail(`The store lacks what leads to the instance's files; naming everything.`);
          base = null;
        } else if (error instanceof FileMoved || /^(HASH_MISMATCH|ARCHIVE_MISMATCH|NEEDS)$/.test(code)) {
          const paths = detail.paths as string[] | undefined;
          context.reporter.line(
            `Files changed while they were sent${paths ? ` (${paths.slice(0, 3).map(printable).join(', ')})` : ''}; scanning again.`,
          );
          scanned = await wishes.scan();
        } else if (head !== null && !diagnosed && !(error instanceof RemoteFailure)) {
          // Warm: sent first, diagnosed now. The preflight says what is wrong, or waits for an instance that boots.
          diagnosed = true;
          await wishes.preflight();
        } else {
          throw error;
        }
      }
    }
  } catch (error) {
    await acknowledge(context, { leftovers });
    throw error;
  }
}

function readBase(base: Head | null): Snapshot | null {
  try {
    return base?.read() ?? null;
  } catch {
    return null;
  }
}

function isMissing(code: string, detail: Record<string, unknown>): boolean {
  return code === 'FETCH_FAILED' && [403, 404].includes(Number(detail.status));
}

function isMissingPack(code: string, detail: Record<string, unknown>): boolean {
  return isMissing(code, detail) && detail.what === 'pack';
}

function forgetPacks(context: SyncContext, packs: { sha256: string }[], why: string): void {
  context.reporter.warn(`${formatCount(packs.length, 'pack')} in the store ${why}; sending the contents again.`);
  context.index.forget(new Set(packs.map(({ sha256 }) => sha256)));
}

async function planSync(
  context: SyncContext,
  snapshot: Snapshot,
  base: Head | null,
  before: Snapshot | null,
  { part }: Delivery,
): Promise<SyncPart> {
  const { store, keys } = context;
  const sign = async (key: string) => store.presignGet(key);
  const named = new Set(part.packs.map(({ sha256 }) => sha256));
  const spares = (base?.packs ?? []).filter(([sha256]) => !named.has(sha256));
  const packs = [
    ...part.packs,
    ...(spares.length <= SPARES ? spares.map(([sha256, size]) => ({ sha256, size, spare: true })) : []),
  ];
  const changes = before && before !== snapshot ? difference(before, snapshot) : null;
  return {
    snapshot: snapshot.id,
    base: base?.snapshot ?? null,
    manifest: before ? null : snapshot.canonical.toString(),
    delta: changes && { gone: changes.gone, records: formatRecords(changes.changed) },
    history: await Promise.all(
      (base?.history ?? []).map(async (id) => ({ snapshot: id, url: await sign(keys.record(id)) })),
    ),
    recipes: part.recipes,
    packs: await Promise.all(packs.map(async (pack) => ({ ...pack, url: await sign(keys.pack(pack.sha256)) }))),
    data: part.data,
    archive: part.archive,
    limits: LIMITS,
    force: false,
  };
}
