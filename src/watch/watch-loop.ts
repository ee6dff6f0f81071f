import { randomBytes } from 'node:crypto';
import { posix } from 'node:path';
import { sleep } from '../system/sleep';
import type { WatchReply } from '../command/plan';
import { RemoteFailure } from '../command/remote-failure';
import { CONFIG_FILE } from '../config/sources/config-file';
import { fileProblem } from '../report/file-problem';
import { Problem } from '../report/problem';
import type { Snapshot } from '../snapshot/snapshot';
import { selectTransport } from '../sync/transport/select-transport';
import { sendEdit } from './send-edit';
import { PendingManifest } from './pending-manifest';
import { WATCH_PACE, Watcher, WatcherGone, type WatchPace } from './watcher-client';
import type { ChangeBatch, FileEvents } from '../workspace/files/file-events';
import { push } from '../project/sync-project';
import type { Rescan } from './rescan';
import type { Workspace } from '../project/scan-project';
import { WatchStats } from './watch-summary';
import type { InstanceContext } from '../context/types';
import { FileMoved } from '../snapshot/file-moved';
import type { SyncContext } from '../sync/context';

/** The head is recorded when nothing was sent for so long, ms. */
const HEAD_DELAY_MS = 2_000;
/** Whether the watcher has said something is looked for so often, ms: that keeps the connection open, too. */
const LISTEN_INTERVAL_MS = 4_000;
/** After files were listed again, once more so long after: a directory is watched a moment after it was made. */
const RELIST_DELAY_MS = 1_000;
/** What failed is tried again after so long, ms, and later and later. */
const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 30_000;
/** A file that changed while it was sent is on its way to be saved, ms. */
const MOVED_RETRY_MS = 100;
/** So often in a row something may fail that is no problem of the user's. */
const MAX_UNEXPECTED_ERRORS = 5;
/** A watcher that can't be started again is given up after so long, ms. */
const RESTART_TIMEOUT_MS = 30 * 60_000;
/** At the end the watcher has so long to say good-bye, ms. */
const GOODBYE_TIMEOUT_MS = 2_000;

export interface WatchOptions {
  events: Pick<FileEvents, 'next'>;
  rescan: Pick<Rescan, 'after'>;
  signal: AbortSignal;
  force?: boolean;
  pace?: WatchPace;
}

/**
 * Keeps the instance's tree in step with the workspace until the signal is aborted: one edit on its way at a time,
 * what changes while it is sent is the next one.
 * @throws Problem where the first sync fails, another watch takes over, or the instance is gone for good.
 */
export class Watch {
  readonly stats = new WatchStats();
  private readonly syncContext: SyncContext;
  private readonly pace: WatchPace;
  private readonly client = randomBytes(8).toString('hex');
  private watcher?: Watcher;
  /** One that a command is on its way to start. */
  private starting?: Watcher;
  private acknowledged?: Snapshot;
  private pendingManifest?: PendingManifest;
  /** What was noticed and is not in step yet. */
  private pending: ChangeBatch | null = null;
  private retry = FIRST_RETRY_MS;
  private unexpectedErrors = 0;
  private trouble = '';
  /** Moments of `performance.now()`. */
  private retryAt = 0;
  private againAt = Infinity;
  private sentAt = 0;

  constructor(
    private readonly context: InstanceContext,
    private readonly workspace: Workspace,
    private readonly options: WatchOptions,
  ) {
    this.syncContext = { ...context, signal: options.signal };
    this.pace = options.pace ?? WATCH_PACE;
  }

  async run(): Promise<never> {
    try {
      await this.start();
      this.context.printer.line(`Watching. To stop: Ctrl+C`);
      for (;;) {
        const batch = await this.options.events.next(this.idle(), this.options.signal);
        this.pending = merge(this.pending, batch);
        await this.withRetry(async () => {
          const now = performance.now();
          if (this.pending && (batch || now >= this.retryAt))
            await this.syncChanges(this.pending, now + RELIST_DELAY_MS);
          else if (now >= this.againAt) await this.syncChanges({ paths: null, since: now }, Infinity);
          else await this.idleTasks();
        });
      }
    } finally {
      await this.end();
    }
  }

  /** How long nothing is to be done, unless something happens, ms. */
  private idle(): number {
    const moments = [this.againAt, this.sentAt + this.pace.lease / 3, performance.now() + LISTEN_INTERVAL_MS];
    if (this.pending) moments.push(this.retryAt);
    if (!this.pendingManifest!.isEmpty) moments.push(this.sentAt + HEAD_DELAY_MS);
    return Math.max(0, Math.min(...moments) - performance.now());
  }

  /** @param again when to look once more, if files were listed again. */
  private async syncChanges(batch: ChangeBatch, again: number): Promise<void> {
    const { context, options, workspace } = this;
    this.pending = batch;
    this.againAt = Infinity;
    this.warnConfigChanged(batch);
    const { snapshot, recipes, relisted } = await options.rescan.after(batch);
    if (relisted) this.againAt = again;
    // The tree may hold an edit that was not acknowledged and is undone by now.
    if (snapshot.id !== this.acknowledged!.id || !this.watcher!.isTreeKnown) {
      const strategy = selectTransport(context.configuration.sync.transport);
      const of = { wanted: snapshot, acknowledged: this.acknowledged!, recipes, force: options.force ?? false };
      const edit = await sendEdit(this.syncContext, strategy, this.watcher!, of);
      this.acknowledged = snapshot;
      this.pendingManifest!.add(snapshot, recipes, edit.transfer);
      this.sentAt = performance.now();
      this.stats.add(workspace.printer, context.instance, edit, performance.now() - batch.since);
    }
    this.pending = null;
  }

  /** Nothing is to be sent: what else there is to do. */
  private async idleTasks(): Promise<void> {
    const quiet = performance.now() - this.sentAt;
    if (!this.pendingManifest!.isEmpty && quiet >= HEAD_DELAY_MS) void this.pendingManifest!.record();
    if (quiet >= this.pace.lease / 3) {
      await this.watcher!.send(null, { signal: this.options.signal });
      this.sentAt = performance.now();
    } else {
      await this.watcher!.listen(this.options.signal);
    }
    void this.watcher!.tidy();
  }

  private warnConfigChanged({ paths }: ChangeBatch): void {
    const { configuration, printer } = this.context;
    const file = posix.join(configuration.projectRoot, CONFIG_FILE);
    if (paths?.has(file)) printer.line(`${file} changed. Restart the watch to apply the change.`);
  }

  /** Does something, and what its failure asks for: nothing but the end of all ends a watch. */
  private async withRetry(work: () => Promise<void>): Promise<void> {
    const { printer } = this.context;
    try {
      await work();
      this.retry = FIRST_RETRY_MS;
      this.unexpectedErrors = 0;
      this.trouble = '';
    } catch (thrown) {
      // A full disk, or too many open files on this machine, may last: it is the user's to mend.
      const error = fileProblem(thrown) ?? thrown;
      if (this.options.signal.aborted) throw error;
      if (error instanceof WatcherGone) return await this.startAgain(error);
      if (error instanceof FileMoved) return void (this.retryAt = performance.now() + MOVED_RETRY_MS);
      // A directory may go while it is read; what stays so is ours to mend.
      if (!(error instanceof Problem) && ++this.unexpectedErrors > MAX_UNEXPECTED_ERRORS) throw error;
      // A link that leads out of the workspace, a full disk there: said once, and tried again, at the latest when something changes.
      const { message } = error as Error;
      // Each try is for another object: what AWS refuses for the same reason is the same trouble.
      const trouble = (error instanceof Problem && error.aws?.code) || message;
      const outcome = this.watcher?.mayHaveApplied ? 'it is not known whether the last edit was applied' : 'not synced';
      if (this.trouble !== trouble) printer.warn(`${outcome}: ${message}`);
      this.trouble = trouble;
      if (error instanceof RemoteFailure && !/^(BUSY|NO_SPACE|PATH_BLOCKED|LIMIT|UNSAFE_PATH)$/.test(error.remoteCode))
        return await this.startAgain(error);
      this.retryAt = performance.now() + this.retry;
      this.retry = Math.min(MAX_RETRY_MS, this.retry * 2);
    }
  }

  /** The command that syncs and starts the watcher. */
  private async start(restart = false): Promise<void> {
    const { context, workspace, options } = this;
    const client = { id: this.client, restart };
    const result = await push<WatchReply>(context, workspace, {
      signal: options.signal,
      force: options.force,
      scan: () => options.rescan.after({ paths: null }),
      watch: () => (this.starting = new Watcher(this.syncContext, this.pace, client)).start(),
    });
    [this.watcher, this.starting] = [this.starting, undefined];
    this.acknowledged = result.snapshot;
    this.pendingManifest = new PendingManifest(this.syncContext, result.snapshot, result.settled);
    this.sentAt = performance.now();
    this.pending = null;
    context.printer.detail(`The watcher on ${context.instance} is PID ${result.reply.watch.pid}`);
  }

  private async startAgain(why: Error): Promise<void> {
    const { context, options } = this;
    const { printer, instance } = context;
    const gone = this.watcher!;
    this.watcher = undefined;
    void gone.tidy();
    if (why instanceof WatcherGone && why.why === 'superseded') throw superseded(instance);
    printer.line(`Starting the watcher on ${instance} again: ${why.message}`);
    this.stats.starts++;
    void this.pendingManifest!.record();
    const since = performance.now();
    let said = '';
    for (let wait = FIRST_RETRY_MS; ; wait = Math.min(MAX_RETRY_MS, wait * 2)) {
      try {
        await context.assertInstanceExists();
        return await this.start(true);
      } catch (error) {
        // The watcher's own message about that may have been lost, or deleted.
        if (error instanceof RemoteFailure && error.remoteCode === 'WATCH_SUPERSEDED') throw superseded(instance);
        const hopeless = error instanceof Problem && error.code === 'INSTANCE_GONE';
        if (options.signal.aborted || hopeless || performance.now() - since > RESTART_TIMEOUT_MS) throw error;
        const what = (error as Error).message.split('\n')[0];
        if (said !== what) printer.line(`Could not start the watcher (${what}); trying again.`);
        said = what;
        await sleep(wait, options.signal);
      }
    }
  }

  /** Nothing of it stays behind: no process there, no object in the store. Takes no longer than Nx grants. */
  private async end(): Promise<void> {
    const { watcher, starting, pendingManifest } = this;
    // One that is being started finds the word when it comes.
    const last = starting ?? watcher;
    if (!last) return;
    const goodbye = last.send(null, { signal: AbortSignal.timeout(GOODBYE_TIMEOUT_MS), end: true });
    await Promise.all([goodbye.catch(() => undefined), pendingManifest?.record()]);
    // Where it was not heard yet, the word stays for it.
    await goodbye.then(
      () => last.tidy(),
      () => watcher?.tidy(),
    );
  }
}

function superseded(instance: string): Problem {
  return new Problem('WATCH_SUPERSEDED', `Another watch of this tree has started on ${instance}; this one ends.`, {
    next: 'Set "sync.tree" to use a tree of your own.',
  });
}

function merge(before: ChangeBatch | null, batch: ChangeBatch | null): ChangeBatch | null {
  if (!before || !batch) return before ?? batch;
  const paths = before.paths && batch.paths && new Set([...before.paths, ...batch.paths]);
  return { paths, since: before.since };
}
