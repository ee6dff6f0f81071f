import type { Operation, RunPart, SyncReply, TrainReply } from '../command/plan';
import { RemoteFailure } from '../command/remote';
import { printable } from '../report/terminal-text';
import { formatCount } from '../report/units';
import { lackingContents } from '../snapshot/diff';
import { EMPTY_SNAPSHOT, type Snapshot } from '../snapshot/snapshot';
import { FileMoved } from './archive';
import { packManifest, readHead, writeHead, type HeadRecord } from './head-record';
import type { SyncContext, SyncStrategy } from './strategy';

export interface Synchronised<R extends SyncReply> {
  snapshot: Snapshot;
  reply: R;
  /** Files and bytes (uncompressed) that were sent, and the bytes that went to S3. */
  sent: { files: number; bytes: number; uploaded: number };
  /** Commands that it took: one, unless the instance held something else than the store's record says. */
  commands: number;
  /** What remains to be done and may be done beside what follows: the record of the head, removing the archive. Never rejects. */
  settled: Promise<void>;
}

export interface SyncWishes {
  /** Scans the workspace: asked again when a file changed on the way. */
  scan: () => Promise<Snapshot>;
  /** Run as soon as it is known that nothing is known of the instance: everything that must hold is asked for. */
  preflight: () => Promise<void>;
  /** Called when it is known what will be sent, before anything is. */
  onPlan: (snapshot: Snapshot, head: Snapshot | null, send: { files: number; bytes: number }) => void;
  /** The run to start with the same command. It learns the snapshot's id. */
  run?: (snapshot: Snapshot) => RunPart;
  /** Called just before the command is sent. */
  onSend?: (snapshot: Snapshot) => void;
}

const ATTEMPTS = 4;
const LIMITS = { entries: 2_000_000, bytes: 2 ** 50 };

/**
 * Brings the instance's tree to the workspace's snapshot with one SSM command, which also starts the run where one is
 * wanted. If the tree holds something else than was thought, or a file changes on the way, it is sent anew.
 */
export async function synchronise<R extends SyncReply = TrainReply>(
  context: SyncContext,
  strategy: SyncStrategy,
  wishes: SyncWishes,
): Promise<Synchronised<R>> {
  const reading = readHead(context);
  reading.catch(() => undefined);
  let snapshot = await wishes.scan();
  let head: HeadRecord | null;
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
  const sent = { files: 0, bytes: 0, uploaded: 0 };
  try {
    let base: Snapshot | null = head?.snapshot ?? null;
    let diagnosed = false;
    for (let commands = 1; ; commands++) {
      const unchanged = base?.id === snapshot.id;
      const lacking = unchanged ? [] : lackingContents(base ?? EMPTY_SNAPSHOT, snapshot);
      const bytes = lacking.reduce((sum, { size }) => sum + size, 0);
      wishes.onPlan(snapshot, base, { files: lacking.length, bytes });
      try {
        const [delivery] = await Promise.all([
          strategy.deliver(context, snapshot, lacking),
          context.remote.storeHelper(),
        ]);
        leftovers.push(...delivery.leftovers);
        sent.files = lacking.length;
        sent.bytes = bytes;
        sent.uploaded += delivery.uploaded;
        const sync = {
          snapshot: snapshot.id,
          manifest: unchanged ? null : packManifest(snapshot),
          archive: delivery.archive,
          limits: LIMITS,
        };
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
        return { snapshot, reply, sent, commands, settled: settle(context, unchanged ? null : snapshot, leftovers) };
      } catch (error) {
        if (commands >= ATTEMPTS || context.signal?.aborted) throw error;
        if (error instanceof RemoteFailure && base !== null && error.remoteCode === 'NEEDS') {
          // Another caller synced, the disk was replaced, or files were changed there: everything travels.
          context.reporter.detail(
            `The instance lacks ${formatCount(Number(error.detail.count ?? 0), 'content')}; sending everything.`,
          );
          base = null;
        } else if (
          error instanceof FileMoved ||
          (error instanceof RemoteFailure && /^(HASH_MISMATCH|ARCHIVE_MISMATCH|NEEDS)$/.test(error.remoteCode))
        ) {
          const paths = error instanceof RemoteFailure ? (error.detail.paths as string[] | undefined) : undefined;
          context.reporter.line(
            `Files changed while they were sent${paths ? ` (${paths.slice(0, 3).map(printable).join(', ')})` : ''}; scanning again.`,
          );
          snapshot = await wishes.scan();
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
    await settle(context, null, leftovers);
    throw error;
  }
}

async function settle(context: SyncContext, acknowledged: Snapshot | null, leftovers: string[]): Promise<void> {
  await Promise.all([
    acknowledged &&
      writeHead(context, acknowledged).catch((error: Error) =>
        context.reporter.warn(
          `the store does not know of this sync, so the next one sends everything: ${error.message}`,
        ),
      ),
    context.store
      .delete(leftovers)
      .catch((error: Error) =>
        context.reporter.warn(`what was sent is still in the store; its lifecycle rule removes it: ${error.message}`),
      ),
  ]);
}
