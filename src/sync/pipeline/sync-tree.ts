import { awsStatus } from '../../aws/reason';
import type { Operation, RunPart, SyncPart, SyncReply, TrainReply, WatchPart } from '../../command/plan';
import { RemoteFailure, type SendOptions } from '../../command/remote';
import { Problem } from '../../report/problem';
import { difference, missingContents } from '../../snapshot/diff';
import type { Recipes } from '../../snapshot/recipes';
import { EMPTY_SNAPSHOT, type Snapshot } from '../../snapshot/snapshot';
import { cacheHeads, publishHead, deleteTemporaries } from '../manifest/publish-head';
import { isFresh, readHead, loadCachedHead, type Head } from '../manifest/head';
import { skipFailed, applyRetry, retryActionFor } from './retry-policy';
import { planSync } from './plan-sync';
import { prepareRecord } from '../manifest/prepare-manifest';
import type { Transport } from '../transport/transport';
import type { SyncContext } from '../context';

export interface Synchronised<R extends SyncReply> {
  snapshot: Snapshot;
  /** The first instance's. */
  reply: R;
  replies: Map<string, R>;
  /** Why instances did not take the files; never all of them. */
  failures: Map<string, Error>;
  /** Files and bytes (uncompressed) that were sent, the bytes that went to S3, and those that need not. */
  sent: { files: number; bytes: number; uploaded: number; saved: number };
  /** Commands that it took: one, unless the instance lacked what it was thought to have. */
  commands: number;
  /** What remains to be done and may be done beside what follows: telling others, removing the archive. Never rejects. */
  settled: Promise<void>;
}

export interface SyncOptions {
  /** Scans the workspace: asked again when a file changed on the way. */
  scan: () => Promise<{ snapshot: Snapshot; recipes: Recipes }>;
  /** Run as soon as it is known that nothing is known of the instance: everything that must hold is asked for. */
  preflight: () => Promise<void>;
  /** Called when it is known what will be sent, before anything is. */
  onPlan: (snapshot: Snapshot, head: Snapshot | null, send: { files: number; bytes: number }) => void;
  /** What was changed on the instance is overwritten, and not kept. */
  force?: boolean;
  /** The run to start with the same command. It learns the snapshot's id. */
  run?: (snapshot: Snapshot) => Promise<RunPart>;
  /** The watcher to start with the same command: asked for each command that is sent. `key`: base64, of its edits. */
  watch?: () => Promise<{ part: WatchPart; key: string }>;
  /** Called just before the command is sent. */
  onSend?: (snapshot: Snapshot) => void;
}

/** Thrown by a step of the pipeline that finds the sync unnecessary: nothing is sent. */
export class SyncNotNeeded extends Error {}

const ATTEMPTS = 4;
/** A snapshot of so many bytes travels in the plan itself; a larger one as its record, which is sent beside the packs. */
const SHORT_MANIFEST = 16 * 1024;

/**
 * Brings the instances' trees to the workspace's snapshot with one SSM command, which also starts the run where one is
 * wanted. If the tree holds something else than was thought, it is healed by that same command; what can't be had
 * there, or changes on the way, is sent anew.
 */
export async function synchronise<R extends SyncReply = TrainReply>(
  context: SyncContext,
  strategy: Transport,
  request: SyncOptions,
): Promise<Synchronised<R>> {
  const begun = begin(context, request);
  begun.catch(() => undefined);
  let scanned = await request.scan();
  const head = await begun;
  context.remote.assumeRuntime(head?.runtime);

  const leftovers: string[] = [];
  const sent = { files: 0, bytes: 0, uploaded: 0, saved: 0 };
  const replies = new Map<string, R>();
  const failures = new Map<string, Error>();
  let pending = [...context.instances];
  let base = head;
  let diagnosed = false;
  for (let commands = 1; ; commands++) {
    let offered: { sha256: string; size: number }[] = [];
    try {
      const { snapshot, recipes } = scanned;
      const unchanged = base?.snapshot === snapshot.id;
      const before = unchanged ? snapshot : readBase(base);
      if (!before) base = null;
      const missing = unchanged ? [] : missingContents(before ?? EMPTY_SNAPSHOT, snapshot);
      const bytes = missing.reduce((sum, { size }) => sum + size, 0);
      request.onPlan(snapshot, before, { files: missing.length, bytes });
      const runtime = context.remote.uploadRuntime();
      runtime.catch(() => undefined);
      const transfer = await strategy.deliver(context, { wanted: snapshot, base: before, missing, recipes });
      transfer.sent.catch(() => undefined);
      leftovers.push(...transfer.leftovers);
      const { where, packByChunk } = transfer;
      const recorded = unchanged && base!.history.length > 0;
      const delta = before && !unchanged ? difference(before, snapshot) : null;
      const record = recorded
        ? null
        : await prepareRecord(context, { snapshot, recipes, base, before, delta, where, packByChunk });
      const asRecord = !before && snapshot.canonical.length > SHORT_MANIFEST;
      await Promise.all([transfer.sent, runtime, asRecord && record?.store()]);
      Object.assign(sent, { files: missing.length, bytes, saved: transfer.saved });
      sent.uploaded += transfer.uploaded();
      const sync = await planSync(context, { snapshot, base, before, delta, transfer, asRecord, force: request.force });
      offered = sync.packs;
      const { operation, options } = await operationOf(context.tree, sync, snapshot, request);
      request.onSend?.(snapshot);
      const state = { snapshot, base, record };
      let announced: Promise<void> | undefined;
      const results = await context.remote.sendEach<R>(pending, operation, {
        ...options,
        signal: context.signal,
        onSent: () => (announced ??= publishHead(context, pending, state)),
      });
      const instances: string[] = [];
      pending = [];
      for (const [instance, result] of results) {
        if (!(result instanceof Error)) {
          replies.set(instance, result);
          failures.delete(instance);
          instances.push(instance);
        } else {
          failures.set(instance, result);
          // What sending anew may mend in one, it may mend in all that met it.
          if (retryActionFor(result, base !== null, offered)) pending.push(instance);
        }
      }
      cacheHeads(context, instances, state);
      const again = pending.length > 0 && commands < ATTEMPTS;
      if (again) throw failures.get(pending[0])!;
      if (!replies.size) {
        pending = [...failures.keys()];
        throw [...failures.values()][0];
      }
      const settled = Promise.all([announced, deleteTemporaries(context, leftovers)]).then(() => undefined);
      const [reply] = replies.values();
      return { snapshot, reply, replies, failures, sent, commands, settled };
    } catch (error) {
      if (error instanceof SyncNotNeeded) {
        await Promise.all([deleteTemporaries(context, leftovers), context.index.publish().catch(() => undefined)]);
        throw error;
      }
      const remedy = commands < ATTEMPTS && !context.signal?.aborted && retryActionFor(error, base !== null, offered);
      if (remedy) {
        if (await applyRetry(context, remedy, error, offered)) base = null;
        else scanned = await request.scan();
      } else if (strategy.fallback && isNotImplemented(error)) {
        context.reporter.detail('The bucket does not know what the store needs (HTTP 501): sending an archive.');
        strategy = strategy.fallback;
      } else if (skipFailed(pending, failures, error)) {
        pending = pending.filter((instance) => !failures.has(instance));
      } else if (head !== null && !diagnosed && !(error instanceof RemoteFailure) && !context.signal?.aborted) {
        // Warm: sent first, diagnosed now. The preflight says what is wrong, or waits for an instance that boots.
        diagnosed = true;
        await request.preflight().catch(async (found: unknown) => {
          await deleteTemporaries(context, leftovers);
          throw found;
        });
      } else {
        await Promise.all([deleteTemporaries(context, leftovers), context.index.publish().catch(() => undefined)]);
        throw error;
      }
    }
  }
}

/** What the command does: the sync, and what else was requested. */
async function operationOf(
  tree: string,
  sync: SyncPart,
  snapshot: Snapshot,
  request: SyncOptions,
): Promise<{ operation: Operation; options: SendOptions }> {
  const executionTimeout = 3_600;
  const run = await request.run?.(snapshot);
  if (run) {
    const confidential = Object.keys(run.env).length > 0 || run.resumeFrom !== null;
    // A plan that is not sealed may come to lie in the bucket: who can write there must not learn the key.
    const { recordKey, ...part } = run;
    const options = { comment: `nx-ec2: train ${run.id}`, executionTimeout, confidential, key: recordKey };
    return { operation: { op: 'train', tree, sync, run: part }, options };
  }
  const comment = `nx-ec2: ${request.watch ? 'watch' : 'sync'} ${snapshot.id.slice(0, 12)}`;
  const watch = await request.watch?.();
  return {
    operation: watch ? { op: 'watch', tree, sync, watch: watch.part } : { op: 'sync', tree, sync },
    options: { comment, executionTimeout, key: watch?.key },
  };
}

/**
 * What all of the instances hold, as this machine remembers it, else as the store does; null where they differ or
 * nothing is known of one: then everything is named. Where this machine has nothing to remember, what must hold and
 * what others have uploaded is asked for at the same time.
 */
async function begin(context: SyncContext, options: SyncOptions): Promise<Head | null> {
  let heads = context.instances.map((instance) => loadCachedHead(context, instance));
  if (!heads.every((head) => head && isFresh(head))) {
    const reading = Promise.all(context.instances.map((instance) => readHead(context, instance)));
    reading.catch(() => undefined);
    // Not being able to list costs an upload, not the sync.
    const asking = context.index.refresh().catch(() => undefined);
    // Why the store can't be read is the preflight's to say, all of it in one go.
    await options.preflight();
    await asking;
    heads = await reading;
  }
  const [first] = heads;
  return heads.every((each) => each && each.snapshot === first?.snapshot) ? first : null;
}

function readBase(base: Head | null): Snapshot | null {
  try {
    return base?.read() ?? null;
  } catch {
    return null;
  }
}

/** Whether a bucket does not know what a strategy needs of it. */
export function isNotImplemented(error: unknown): boolean {
  return error instanceof Problem && awsStatus(error.cause) === 501;
}
