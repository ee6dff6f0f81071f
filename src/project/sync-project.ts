import type { SyncReply } from '../command/plan';
import type { Printer } from '../report/printer';
import { formatCount, formatDuration, formatSize } from '../report/units';
import { sanitizeForTerminal } from '../report/terminal-text';
import { selectTransport } from '../sync/transport/select-transport';
import { knowsBase } from '../sync/pipeline/find-base';
import { syncTree } from '../sync/pipeline/sync-tree';
import { EarlyUpload } from '../sync/transport/early-upload';
import type { ScannedContents } from '../snapshot/scanned-contents';
import type { SyncResult, SyncOptions } from '../sync/pipeline/types';
import { assertReady } from './assert-ready';
import type { EnvironmentNeeds } from './environment-needs';
import { describeLeftOut, warnLarge } from './describe-files';
import { scanProject, type Scanned, type Workspace } from './scan-project';
import { steadyNow } from '../system/moment';
import type { InstanceContext } from '../context/types';

/**
 * Begins to upload what a scan reads, if this machine does not know what the instances hold: otherwise little is to be
 * sent, and what that is the scan tells. The push that follows ends it.
 */
export function uploadDuringScan(
  context: InstanceContext,
  contents: ScannedContents,
  signal: AbortSignal,
): EarlyUpload | undefined {
  const isArchive = context.configuration.sync.transport === 'archive';
  if (isArchive || knowsBase(context)) {
    contents.close();
    return undefined;
  }
  // What is wrong with the store, the sync reports.
  context.remote.uploadRuntime().catch(() => undefined);
  return new EarlyUpload({ ...context, signal }, contents);
}

/** Brings the instance to the workspace's state, and starts a run or a watcher with the same command where one is given. */
export async function push<R extends SyncReply>(
  context: InstanceContext,
  workspace: Workspace,
  options: {
    signal?: AbortSignal;
    /** A scan that has already started. */
    first?: Scanned | Promise<Scanned>;
    /** Instead of `scanProject`. */
    scan?: () => Promise<Scanned>;
    onSend?: () => void;
    /** What the run to start needs of the instance. */
    needs?: () => EnvironmentNeeds | null;
  } & Pick<SyncOptions, 'early' | 'force' | 'run' | 'watch' | 'storeFirst'>,
): Promise<SyncResult<R>> {
  const { printer, configuration } = context;
  const started = steadyNow();
  let scanned = options.first;
  let planned = '';
  const result = await syncTree<R>(
    { ...context, signal: options.signal },
    selectTransport(configuration.sync.transport),
    {
      scan: async () => {
        const now = await (scanned ?? options.scan?.() ?? scanProject(workspace));
        scanned = undefined;
        if (!planned) describeLeftOut(now.files, (text) => printer.detail(text));
        return now;
      },
      preflight: async () => {
        await context.preflight(options.signal);
        await assertReady(context, options.needs?.() ?? null, options.signal);
      },
      onPlan: (snapshot, head, send) => {
        if (planned === `${snapshot.id} ${head?.id}`) return;
        planned = `${snapshot.id} ${head?.id}`;
        warnLarge(printer, snapshot, send.bytes, configuration.sync.warnAbove);
      },
      early: options.early,
      force: options.force,
      run: options.run,
      watch: options.watch,
      storeFirst: options.storeFirst,
      commandFirst:
        configuration.sync.commandFirst &&
        configuration.sync.transport !== 'archive' &&
        !options.run &&
        !options.watch &&
        !options.storeFirst,
      onSend: options.onSend,
    },
  ).finally(() => options.early?.cancel());
  describeSync(context, result, steadyNow() - started);
  return result;
}

function describeSync<R extends SyncReply>(context: InstanceContext, result: SyncResult<R>, ms: number): void {
  const { printer } = context;
  const { sent, snapshot } = result;
  const how = sent.uploaded ? `${formatSize(sent.uploaded)} uploaded` : 'nothing uploaded';
  const saved = sent.saved ? `, ${formatSize(sent.saved)} there already` : '';
  const files = sent.files ? `${formatCount(sent.files, 'file')} sent (${formatSize(sent.bytes)}, ${how}${saved})` : '';
  for (const [instance, reply] of result.replies) {
    const deleted = reply.deleted ? `${reply.deleted} deleted` : '';
    const written = reply.written && !files ? `${reply.written} written` : '';
    const what = [files, written, deleted].filter(Boolean).join(', ') || 'nothing changed';
    printer.line(`Synced ${formatCount(snapshot.size, 'file')} to ${instance}: ${what}, in ${formatDuration(ms)}`);
    describeReply(printer, instance, reply);
  }
  for (const [instance, error] of result.failures) printer.warn(`${instance} was not synced: ${error.message}`);
  printer.detail(`Snapshot ${snapshot.id}`);
}

/** What happened on the instance besides what was asked for. */
export function describeReply(printer: Printer, instance: string, reply: SyncReply): void {
  if (reply.revertedCount) {
    const named = reply.reverted.slice(0, 5).map(sanitizeForTerminal).join(', ');
    const kept = reply.kept
      ? `; the replaced files are in ${sanitizeForTerminal(reply.kept)} (--force overwrites without a copy)`
      : '';
    printer.warn(
      `${formatCount(reply.revertedCount, 'synced file')} had been changed on the instance and ${reply.revertedCount === 1 ? 'was' : 'were'} put back: ${named}${kept}`,
    );
  } else if (reply.kept)
    printer.warn(
      `Files on ${instance} were in the way of this sync, or had been changed there and were deleted here. They are in ${sanitizeForTerminal(reply.kept)} for 30 days (--force keeps no copy).`,
    );
  if (reply.healed) printer.detail(`The tree on ${instance} was not what this machine expected; it was repaired.`);
  printer.detail(`${instance}: tree ${sanitizeForTerminal(reply.tree)} of ${sanitizeForTerminal(reply.user)}`);
}
