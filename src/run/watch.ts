import { posix } from 'node:path';
import { pause } from '../command/run-command';
import type { WatchReply } from '../command/plan';
import { RemoteFailure } from '../command/remote';
import { CONFIG_FILE } from '../config/config-file';
import { fileProblem } from '../report/file-problem';
import { Problem } from '../report/problem';
import type { Snapshot } from '../snapshot/snapshot';
import { strategyOf } from '../sync/choose';
import { sendEdit } from '../sync/edit';
import { FileMoved, type SyncContext } from '../sync/strategy';
import { Unrecorded } from '../sync/unrecorded';
import { WATCH_PACE, Watcher, WatcherGone, type WatchPace } from '../sync/watcher';
import type { Burst, FileEvents } from '../workspace/file-events';
import { push } from './push';
import type { Rescan } from './rescan';
import type { Workspace } from './scan-project';
import type { Session } from './session';
import { WatchTally } from './watch-tally';

/** The head is recorded when nothing was sent for so long, ms. */
const RECORD = 2_000;
/** Whether the watcher has said something is looked for so often, ms: that keeps the connection open, too. */
const LISTEN = 4_000;
/** After files were listed anew, once more so long after: a directory is watched a moment after it was made. */
const AGAIN = 1_000;
/** What failed is tried again after so long, ms, and later and later. */
const FIRST_RETRY = 1_000;
const LAST_RETRY = 30_000;
/** A file that changed while it was sent is on its way to be saved, ms. */
const MOVED = 100;
/** So often in a row something may fail that is no problem of the user's. */
const FAULTS = 5;
/** A watcher that can't be started again is given up after so long, ms. */
const PATIENCE = 30 * 60_000;
/** At the end the watcher has so long to say good-bye, ms. */
const GOODBYE = 2_000;

export interface WatchOptions {
  events: Pick<FileEvents, 'next'>;
  rescan: Pick<Rescan, 'after'>;
  signal: AbortSignal;
  force?: boolean;
  pace?: WatchPace;
}

/**
 * Keeps the instance's tree in step with the workspace until the signal is aborted: one edit on its way at a time,
 * what changes meanwhile is the next one.
 * @throws Problem where the first sync fails, another watch takes over, or the instance is gone for good.
 */
export class Watch {
  readonly tally = new WatchTally();
  private readonly context: SyncContext;
  private readonly pace: WatchPace;
  private watcher?: Watcher;
  /** One that a command is on its way to start. */
  private starting?: Watcher;
  private acknowledged?: Snapshot;
  private unrecorded?: Unrecorded;
  /** What was noticed and is not in step yet. */
  private due: Burst | null = null;
  private retry = FIRST_RETRY;
  private faults = 0;
  private trouble = '';
  /** Moments of `performance.now()`. */
  private retryAt = 0;
  private againAt = Infinity;
  private sentAt = 0;

  constructor(
    private readonly session: Session,
    private readonly workspace: Workspace,
    private readonly options: WatchOptions,
  ) {
    this.context = { ...session, signal: options.signal };
    this.pace = options.pace ?? WATCH_PACE;
  }

  async run(): Promise<never> {
    try {
      await this.start();
      this.session.reporter.line(`Watching; Ctrl+C ends it.`);
      for (;;) {
        const burst = await this.options.events.next(this.idle(), this.options.signal);
        this.due = merge(this.due, burst);
        await this.attend(async () => {
          const now = performance.now();
          if (this.due && (burst || now >= this.retryAt)) await this.bringInStep(this.due, now + AGAIN);
          else if (now >= this.againAt) await this.bringInStep({ paths: null, since: now }, Infinity);
          else await this.rest();
        });
      }
    } finally {
      await this.end();
    }
  }

  /** How long nothing is to be done, unless something happens, ms. */
  private idle(): number {
    const moments = [this.againAt, this.sentAt + this.pace.lease / 3, performance.now() + LISTEN];
    if (this.due) moments.push(this.retryAt);
    if (!this.unrecorded!.isEmpty) moments.push(this.sentAt + RECORD);
    return Math.max(0, Math.min(...moments) - performance.now());
  }

  /** @param again when to look once more, if files were listed anew. */
  private async bringInStep(burst: Burst, again: number): Promise<void> {
    const { session, options, workspace } = this;
    this.due = burst;
    this.againAt = Infinity;
    this.tellOfConfiguration(burst);
    const { snapshot, recipes, anew } = await options.rescan.after(burst);
    if (anew) this.againAt = again;
    if (snapshot.id !== this.acknowledged!.id) {
      const strategy = strategyOf(session.configuration.sync.strategy);
      const of = { wanted: snapshot, acknowledged: this.acknowledged!, recipes, force: options.force ?? false };
      const edit = await sendEdit(this.context, strategy, this.watcher!, of);
      this.acknowledged = snapshot;
      this.unrecorded!.add(snapshot, recipes, edit.delivery);
      this.sentAt = performance.now();
      this.tally.add(workspace.reporter, session.instance, edit, performance.now() - burst.since);
    }
    this.due = null;
  }

  /** Nothing is to be sent: what else there is to do. */
  private async rest(): Promise<void> {
    const quiet = performance.now() - this.sentAt;
    if (!this.unrecorded!.isEmpty && quiet >= RECORD) void this.unrecorded!.record();
    if (quiet >= this.pace.lease / 3) {
      await this.watcher!.send(null, { signal: this.options.signal });
      this.sentAt = performance.now();
    } else {
      await this.watcher!.listen(this.options.signal);
    }
    void this.watcher!.tidy();
  }

  private tellOfConfiguration({ paths }: Burst): void {
    const { configuration, reporter } = this.session;
    const file = posix.join(configuration.projectRoot, CONFIG_FILE);
    if (paths?.has(file)) reporter.line(`${file} changed: it holds from the next start on.`);
  }

  /** Does something, and what its failure asks for: nothing but the end of all ends a watch. */
  private async attend(work: () => Promise<void>): Promise<void> {
    const { reporter } = this.session;
    try {
      await work();
      this.retry = FIRST_RETRY;
      this.faults = 0;
      this.trouble = '';
    } catch (thrown) {
      // A full disk, or too many open files on this machine, may last: it is the user's to mend.
      const error = fileProblem(thrown) ?? thrown;
      if (this.options.signal.aborted) throw error;
      if (error instanceof WatcherGone) return await this.startAgain(error);
      if (error instanceof FileMoved) return void (this.retryAt = performance.now() + MOVED);
      // A directory may go while it is read; what stays so is ours to mend.
      if (!(error instanceof Problem) && ++this.faults > FAULTS) throw error;
      // A link that leads out of the workspace, a full disk there: said once, and tried again, at the latest when something changes.
      const { message } = error as Error;
      // Each try is for another object: what AWS refuses for the same reason is the same trouble.
      const trouble = (error instanceof Problem && error.aws?.code) || message;
      if (this.trouble !== trouble) reporter.warn(`not in step: ${message}`);
      this.trouble = trouble;
      if (error instanceof RemoteFailure && !/^(BUSY|NO_SPACE|PATH_BLOCKED|LIMIT|UNSAFE_PATH)$/.test(error.remoteCode))
        return await this.startAgain(error);
      this.retryAt = performance.now() + this.retry;
      this.retry = Math.min(LAST_RETRY, this.retry * 2);
    }
  }

  /** The command that syncs and starts the watcher. */
  private async start(): Promise<void> {
    const { session, workspace, options } = this;
    const result = await push<WatchReply>(session, workspace, {
      signal: options.signal,
      force: options.force,
      scan: () => options.rescan.after({ paths: null }),
      watch: () => (this.starting = new Watcher(this.context, this.pace)).start(),
    });
    [this.watcher, this.starting] = [this.starting, undefined];
    this.acknowledged = result.snapshot;
    this.unrecorded = new Unrecorded(this.context, result.snapshot, result.settled);
    this.sentAt = performance.now();
    this.due = null;
    session.reporter.detail(`The watcher on ${session.instance} is PID ${result.reply.watch.pid}`);
  }

  private async startAgain(why: Error): Promise<void> {
    const { session, options } = this;
    const { reporter, instance } = session;
    const gone = this.watcher!;
    this.watcher = undefined;
    void gone.tidy();
    if (why instanceof WatcherGone && why.why === 'superseded') {
      throw new Problem('WATCH_SUPERSEDED', `Another watch of this tree has begun on ${instance}: this one ends.`, {
        next: 'Set "sync.tree" for a tree of one\'s own.',
      });
    }
    reporter.line(`The watcher on ${instance} is to be started again: ${why.message}`);
    this.tally.starts++;
    void this.unrecorded!.record();
    const since = performance.now();
    let said = '';
    for (let wait = FIRST_RETRY; ; wait = Math.min(LAST_RETRY, wait * 2)) {
      try {
        await session.stillThere();
        return await this.start();
      } catch (error) {
        const hopeless = error instanceof Problem && error.code === 'INSTANCE_GONE';
        if (options.signal.aborted || hopeless || performance.now() - since > PATIENCE) throw error;
        const what = (error as Error).message.split('\n')[0];
        if (said !== what) reporter.line(`It can't be started (${what}); trying again.`);
        said = what;
        await pause(wait, options.signal);
      }
    }
  }

  /** Nothing of it stays behind: no process there, no object in the store. Takes no longer than Nx grants. */
  private async end(): Promise<void> {
    const { watcher, starting, unrecorded } = this;
    // One that is being started finds the word when it comes.
    const last = starting ?? watcher;
    if (!last) return;
    const goodbye = last.send(null, { signal: AbortSignal.timeout(GOODBYE), end: true });
    await Promise.all([goodbye.catch(() => undefined), unrecorded?.record()]);
    // Where it was not heard yet, the word stays for it.
    await goodbye.then(
      () => last.tidy(),
      () => watcher?.tidy(),
    );
  }
}

function merge(before: Burst | null, burst: Burst | null): Burst | null {
  if (!before || !burst) return before ?? burst;
  const paths = before.paths && burst.paths && new Set([...before.paths, ...burst.paths]);
  return { paths, since: before.since };
}
