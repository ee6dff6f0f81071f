import type { Operation, SyncReply, TrainReply } from '../../command/plan';
import type { SendOptions } from '../../command/remote';
import type { WaitingCommand } from '../../command/waiting-command';
import { difference, missingContents, type Delta } from '../../snapshot/diff';
import type { FileEntry } from '../../snapshot/entry';
import type { Recipes } from '../../snapshot/recipes';
import { EMPTY_SNAPSHOT, type Snapshot } from '../../snapshot/snapshot';
import type { SyncContext } from '../context';
import type { Head } from '../manifest/head';
import { prepareManifest, type PreparedManifest } from '../manifest/prepare-manifest';
import { cacheHeads, deleteTemporaries, publishHead } from '../manifest/publish-head';
import type { Transfer, Transport } from '../transport/transport';
import { findBase, readBase } from './find-base';
import { EXECUTION_TIMEOUT_S, operationOf } from './operation';
import { planSync } from './plan-sync';
import { applyRetry, MAX_COMMANDS, resendActionFor, retryActionFor } from './retry-policy';
import type { SyncResult, SyncOptions, SyncProgress } from './types';

/** A snapshot of so many bytes travels in the plan itself; a larger one as its manifest, which is uploaded beside the packs. */
const MAX_INLINE_SNAPSHOT_BYTES = 16 * 1024;
/** The same of a plan that follows its command, and has room for more. */
const MAX_FOLLOWING_SNAPSHOT_BYTES = 384 * 1024;

/**
 * Brings the instances' trees to the workspace's snapshot with one SSM command, which also starts the run where one is
 * wanted. If the tree holds something else than was thought, it is healed by that same command; what can't be had
 * there, or changes on the way, is sent again, as retry-policy.ts says.
 */
export async function syncTree<R extends SyncReply = TrainReply>(
  context: SyncContext,
  transport: Transport,
  request: SyncOptions,
): Promise<SyncResult<R>> {
  const progress = await begin<R>(context, transport, request);
  for (;;) {
    progress.commands++;
    progress.offered = [];
    try {
      const changes = findChanges(progress);
      request.onPlan(changes.snapshot, changes.before, { files: changes.missing.length, bytes: changes.bytes });
      const upload = await uploadChanges(context, progress, changes, request);
      const command = await planCommand(context, progress, changes, upload, request);
      const { published } = await sendCommand(context, progress, changes, upload, command);
      return conclude(context, progress, changes, published);
    } catch (error) {
      const action = retryActionFor(error, progress, context.signal?.aborted ?? false);
      if (!action) {
        await Promise.all([
          deleteTemporaries(context, progress.leftovers),
          context.index.publish().catch(() => undefined),
        ]);
        throw error;
      }
      await applyRetry(context, progress, request, action, error);
    }
  }
}

/** Scans the workspace, and finds out at the same time what the trees hold. */
async function begin<R extends SyncReply>(
  context: SyncContext,
  transport: Transport,
  request: SyncOptions,
): Promise<SyncProgress<R>> {
  let waiting: Promise<WaitingCommand | null> | undefined;
  let onScanned!: () => void;
  const scanning = new Promise<void>((resolve) => (onScanned = resolve));
  const finding = findBase(context, request.preflight, (base) => {
    if (request.commandFirst && base.runtime === context.remote.runtime) waiting = sendAhead(context, false, scanning);
  });
  finding.catch(() => undefined);
  const scanned = await request.scan().finally(onScanned);
  const base = await finding;
  context.remote.assumeRuntime(base?.runtime);
  return {
    transport,
    waiting,
    scanned,
    early: request.early,
    base,
    isWarm: base !== null,
    diagnosed: false,
    pending: [...context.instances],
    replies: new Map(),
    failures: new Map(),
    commands: 0,
    offered: [],
    uploadFirst: request.storeFirst ?? false,
    overlapped: false,
    leftovers: [],
    sent: { files: 0, bytes: 0, uploaded: 0, saved: 0 },
  };
}

/**
 * @param needsRuntime the instances may lack the runtime.
 * @param planning if it has ended when the command could leave, the plan goes with a command.
 */
function sendAhead(
  { remote, instances, tree, signal }: SyncContext,
  needsRuntime: boolean,
  planning: Promise<void> | null,
): Promise<WaitingCommand | null> {
  const options = { comment: 'nx-ec2: sync', executionTimeout: EXECUTION_TIMEOUT_S, signal };
  const sending = remote.sendAhead(instances, { tree, needsRuntime }, planning, options);
  // What failed is said where the plan would follow.
  sending.catch(() => undefined);
  return sending;
}

/** What is to change in the trees. */
interface Changes {
  snapshot: Snapshot;
  recipes: Recipes;
  base: Head | null;
  /** The base's snapshot. */
  before: Snapshot | null;
  /** From there to the snapshot; null where there is none, or nothing changed. */
  delta: Delta | null;
  /** The entries whose content the trees are not known to have. */
  missing: FileEntry[];
  /** Their bytes. */
  bytes: number;
  isUnchanged: boolean;
}

/** Compares the scan with what the trees should hold. A base that can't be read is none. */
function findChanges(progress: SyncProgress): Changes {
  const { snapshot, recipes } = progress.scanned;
  const isUnchanged = progress.base?.snapshot === snapshot.id;
  const before = isUnchanged ? snapshot : readBase(progress.base);
  if (!before) progress.base = null;
  const missing = isUnchanged ? [] : missingContents(before ?? EMPTY_SNAPSHOT, snapshot);
  const bytes = missing.reduce((sum, { size }) => sum + size, 0);
  const delta = before && !isUnchanged ? difference(before, snapshot) : null;
  return { snapshot, recipes, base: progress.base, before, delta, missing, bytes, isUnchanged };
}

/** What was sent to the store for a command. */
interface Upload {
  transfer: Transfer;
  /** The snapshot's; null where the store has it. */
  manifest: PreparedManifest | null;
  /** The snapshot is not in the plan: its manifest is in the store. */
  asManifest: boolean;
}

/** Sends the missing contents, and beside them the runtime and the snapshot's manifest, as far as the store needs them. */
async function uploadChanges(
  context: SyncContext,
  progress: SyncProgress,
  { snapshot, recipes, base, before, delta, missing, bytes, isUnchanged }: Changes,
  { storeFirst = false, commandFirst = false }: SyncOptions,
): Promise<Upload> {
  const { transport, early, leftovers, sent, uploadFirst } = progress;
  progress.early = undefined;
  const runtime = context.remote.uploadRuntime();
  runtime.catch(() => undefined);
  // Where nothing was known of the trees, the instance picks the command up while the last packs are made and sent.
  const isFirst = commandFirst && !progress.isWarm && progress.commands === 1;
  const onNearEnd = isFirst ? () => void (progress.waiting = sendAhead(context, true, null)) : undefined;
  const request = { wanted: snapshot, base: before, missing, recipes, early, onNearEnd };
  const transfer = await transport.deliver(context, request);
  transfer.sent.catch(() => undefined);
  leftovers.push(...transfer.leftovers);
  const { where, packByChunk } = transfer;
  const isStored = isUnchanged && base!.history.length > 0;
  const manifest = isStored
    ? null
    : await prepareManifest(context, { snapshot, recipes, base, before, delta, where, packByChunk });
  const inlineLimit = progress.waiting ? MAX_FOLLOWING_SNAPSHOT_BYTES : MAX_INLINE_SNAPSHOT_BYTES;
  const asManifest = !before && snapshot.canonical.length > inlineLimit;
  // The instance picks the command up while the last packs arrive. Where none was ever accepted, none may be.
  const hasPacks = (base?.packs.length ?? 0) > 0;
  const packs = uploadFirst ? transfer.sent : transfer.nearlySent(hasPacks);
  await Promise.all([packs, runtime, (asManifest || storeFirst) && manifest?.store()]);
  Object.assign(sent, { files: missing.length, bytes, saved: transfer.saved });
  transfer.sent.then(() => void (sent.uploaded += transfer.uploaded())).catch(() => undefined);
  progress.overlapped = transfer.uploading.size > 0;
  return { transfer, manifest, asManifest };
}

interface Command {
  operation: Operation;
  options: SendOptions;
}

/** Makes the command's plan: the sync, and the run or the watcher that it starts. */
async function planCommand(
  context: SyncContext,
  progress: SyncProgress,
  { snapshot, base, before, delta }: Changes,
  { transfer, asManifest }: Upload,
  request: SyncOptions,
): Promise<Command> {
  const sync = await planSync(context, { snapshot, base, before, delta, transfer, asManifest, force: request.force });
  progress.offered = sync.packs;
  const command = await operationOf(context.tree, sync, snapshot, request);
  request.onSend?.(snapshot);
  return command;
}

/**
 * Sends the command to the pending instances, and publishes the new head beside it. This machine remembers what has
 * succeeded; an instance whose failure another attempt may mend stays pending.
 * @returns `published` settles when the others know of the new head.
 * @throws the first failure, where the command is to be sent again or no instance has succeeded.
 */
async function sendCommand<R extends SyncReply>(
  context: SyncContext,
  progress: SyncProgress<R>,
  { snapshot, base }: Changes,
  { manifest, transfer }: Upload,
  command: Command,
): Promise<{ published?: Promise<void> }> {
  const { replies, failures, pending } = progress;
  const state = { snapshot, base, manifest };
  let published: Promise<void> | undefined;
  const { printer } = context;
  const { waiting } = progress;
  progress.waiting = undefined;
  const onNotTaken = (why: string) =>
    printer.detail(`The command that was sent first ended without effect; sending another one: ${why}`);
  const { operation, options } = command;
  const first = { operation, options: { ...options, waiting, onNotTaken } };
  const results = await sendBesideUpload<R>(context, pending, first, transfer.sent, () => {
    // What the head names must be there.
    published ??= transfer.sent.then(
      () => publishHead(context, pending, state),
      () => undefined,
    );
  });
  const succeeded: string[] = [];
  progress.pending = [];
  for (const [instance, result] of results) {
    if (!(result instanceof Error)) {
      replies.set(instance, result);
      failures.delete(instance);
      succeeded.push(instance);
    } else {
      failures.set(instance, result);
      // If sending again may help one instance, it may help all that failed in the same way.
      if (resendActionFor(result, progress)) progress.pending.push(instance);
    }
  }
  cacheHeads(context, succeeded, state);
  if (progress.pending.length > 0 && progress.commands < MAX_COMMANDS) throw failures.get(progress.pending[0])!;
  if (!replies.size) {
    progress.pending = [...failures.keys()];
    throw [...failures.values()][0];
  }
  return { published };
}

/**
 * Sends the command while the last packs are uploaded. If the upload fails, so does the sync: the instance waits in vain
 * for the packs, changes nothing, and ends the command by itself.
 */
async function sendBesideUpload<R>(
  { remote, signal }: SyncContext,
  pending: readonly string[],
  { operation, options }: Command,
  upload: Promise<void>,
  onSent: () => void,
): Promise<Map<string, R | Error>> {
  const failed = new AbortController();
  upload.catch((error: unknown) => failed.abort(error));
  const either = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const sending = remote.sendEach<R>(pending, operation, { ...options, signal: either, onSent });
  try {
    const [results] = await Promise.all([sending, upload]);
    return results;
  } catch (error) {
    await Promise.allSettled([sending, upload]);
    throw error;
  }
}

/** The result; what only the command needed is deleted beside what follows. */
function conclude<R extends SyncReply>(
  context: SyncContext,
  { replies, failures, sent, commands, leftovers }: SyncProgress<R>,
  { snapshot }: Changes,
  published?: Promise<void>,
): SyncResult<R> {
  const settled = Promise.all([published, deleteTemporaries(context, leftovers)]).then(() => undefined);
  const [reply] = replies.values();
  return { snapshot, reply, replies, failures, sent, commands, settled };
}
