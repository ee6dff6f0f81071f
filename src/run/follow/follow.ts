import { isTransient } from '../../aws/reason';
import type { LogPiece, PollReply, RunFacts } from '../../command/plan';
import type { Semaphore } from '../../system/semaphore';
import { sleep } from '../../system/sleep';
import { findFleet } from '../../instance/fleet/find-fleet';
import { Problem } from '../../report/problem';
import { assertThere, pollRun, renewUploadForm, FORM_AGE_MS } from './poll-instance';
import { invalidReply } from '../../command/reply-shapes';
import { recordOf, RecordWatch, type RunRecord } from '../record/record-poller';
import { awaitsReplacement, interruptedInstance } from '../record/interruption';
import { ShownLog } from './shown-log';
import { SEGMENT_BYTES, StoredLog } from '../record/stored-log';
import { LogStream } from './log-stream';
import { Moment, steadyNow } from '../../system/moment';
import type { RunContext } from '../../context/types';
import { notSaved } from '../record/all-saved';
import { EC2_CHECK_MS, HEARTBEAT_TIMEOUT_MS, lost } from '../record/liveness';
import { inflated } from './log-piece';
import { withResumeHint } from './resume-hint';
import { Silence } from './silence';
import { UNREACHABLE_CODES } from './unreachable';

/** Between two looks into the store, ms: at first, and up to the longest while nothing changes. */
const MIN_POLL_MS = 250;
const MAX_POLL_MS = 2_000;
/** How long a run that was just started may take to write its first record, ms. */
const FIRST_RECORD_TIMEOUT_MS = 4_000;
/** Between two questions by a command, ms: such a question is the last resort. */
const ASK_INTERVAL_MS = 5_000;
/** Where the store can't be told, a new way into it is not tried more often, ms. */
const RENEW_INTERVAL_MS = 60_000;
/** How often it is checked that the fleet that is to resume a run exists, ms. */
const FLEET_CHECK_MS = 10_000;
/** A follower waits this long, ms, for AWS to come back: the run continues without it. */
const OUTAGE_TIMEOUT_MS = 30 * 60_000;
/** What the store lacks of a run that has ended is waited for this long, ms: an instance writes it again if it still runs. */
const LACKING_TIMEOUT_MS = 30_000;
/** After so long a stream is worth its session, ms. */
const STREAM_DELAY_MS = 1_500;

export interface FollowOptions {
  signal?: AbortSignal;
  /** The offset in the log to start at. */
  from?: number;
  /** What came with the start. */
  first?: LogPiece;
  /** When the form was signed that the run was started with, ms: it is renewed while we follow. */
  formSince?: Moment;
  /** Return as soon as all that there is was shown. */
  once?: boolean;
  /** Only its end is of interest. */
  quiet?: boolean;
  /** Shared by the followers of several logs: limits how many look at once. They read in the store alone, without a stream. */
  turns?: Semaphore;
  /** How long what the store lacks of a run that has ended, or can't be verified, is waited for, ms. */
  patience?: number;
  onState: (run: RunRecord) => void;
  onLog: (data: Buffer) => void;
}

/**
 * Shows a run's log as it is written, until the run has ended and everything was shown. It is read in the store, by a
 * stream of Session Manager as long as there is one, and by short commands where neither has it: whichever brings a
 * byte first, it is shown once and in its place.
 */
export async function followRun(context: RunContext, run: RunFacts, options: FollowOptions): Promise<RunRecord> {
  const follower = new Follower(context, run, options);
  try {
    return await follower.follow();
  } finally {
    follower.close();
  }
}

class Follower {
  private at: number;
  /** Up to here, what was shown is in the store: the next attempt's log follows it. */
  private sure: number;
  private readonly log: StoredLog;
  private readonly shown: ShownLog;
  /** Whether the store was read. */
  private begun = false;
  /** Up to here, what was shown came from the store. */
  private storedTo = 0;
  private readonly watch: RecordWatch;
  private readonly silence: Silence;
  private stream: LogStream | null | undefined;
  private readonly started = steadyNow();
  private asked = -Infinity;
  /** When a stream was opened last, and how long after that another may be, ms. */
  private opened = -Infinity;
  private reopen = 2_500;
  private formSince: Moment | undefined;
  private troubleSince: number | undefined;
  /** The attempt whose next one is waited for, where that was said. */
  private awaited = 0;
  private warned = false;
  /** What EC2 said of the fleet that is to begin it, and when it was asked, ms. */
  private fleet: { asked: number; gone: boolean } | null = null;
  /** Since when the run has ended and the store lacks some of it, ms of the steady clock. */
  private lackingSince: number | undefined;
  /** What the instance itself said last. */
  private told: PollReply | undefined;

  constructor(
    private readonly context: RunContext,
    private run: RunFacts,
    private readonly options: FollowOptions,
  ) {
    this.at = options.quiet ? Number.MAX_SAFE_INTEGER : (options.from ?? 0);
    this.sure = this.at;
    this.shown = new ShownLog(this.at);
    this.silence = new Silence(context);
    this.formSince = options.formSince;
    this.log = new StoredLog(context.store, context.keys, run);
    this.watch = new RecordWatch(context.store, context.keys, run.id, options.patience, run.node?.rank);
    if (options.first) this.accept(options.first.offset, inflated(options.first));
  }

  close(): void {
    this.stream?.close();
  }

  async follow(): Promise<RunRecord> {
    let wait = MIN_POLL_MS;
    for (;;) {
      const before = this.at;
      const state = this.watch.record?.state;
      try {
        const ended = await (this.options.turns?.with(() => this.look()) ?? this.look());
        if (ended) return ended;
        if (this.troubleSince) this.context.printer.line('Connected again.');
        this.troubleSince = undefined;
      } catch (error) {
        if (this.options.signal?.aborted) throw error;
        if (!isTransient((error as Problem).cause)) throw this.withResumeHint(error as Problem);
        // The run continues without us: a network cut is waited out.
        if (!this.troubleSince)
          this.context.printer.line(`Lost the connection (${(error as Error).message.split('\n')[0]}); trying again.`);
        this.troubleSince ??= steadyNow();
        if (steadyNow() - this.troubleSince > OUTAGE_TIMEOUT_MS) throw this.withResumeHint(error as Problem);
        wait = MAX_POLL_MS;
      }
      // A record that was only told again, as a quiet run's is every 10 s, is nothing new.
      const moved = this.at > before || this.watch.record?.state !== state;
      wait = moved ? MIN_POLL_MS : Math.min(MAX_POLL_MS, wait * 1.3);
      await sleep(wait, this.options.signal);
    }
  }

  /** One look at everything; the record where all is over and shown. */
  private async look(): Promise<RunRecord | null> {
    const { signal } = this.options;
    const streamed = this.stream?.alive ?? false;
    const from = this.at;
    const [found, stored] = await Promise.all([
      this.watch.look(signal),
      streamed || this.options.quiet ? undefined : this.readStored(),
    ]);
    // The record of the previous attempt says nothing about the one that has just started.
    const record = found && found.attempt >= this.run.attempt ? found : null;
    if (record) this.assertSameTraining(record);
    if (stored) this.acceptStored(from, stored, record);
    if (record) {
      this.adopt(record);
      if (this.watch.changed) this.silence.end(record);
      if (this.watch.changed) this.options.onState(record);
      // What the record says is there is there.
      while (this.at < record.log.size && this.acceptStored(this.at, await this.readStored(), record)) continue;
      if (this.watch.changed || record.state === 'ended') this.verifyShown(record);
      if (record.state === 'ended' && this.at >= record.log.size) {
        await this.warnExcess(record);
        if (!awaitsReplacement(record) || this.options.once) return record;
        return (await this.isGone(record)) ? record : null;
      }
      if (this.options.once && this.at >= record.log.size) return record;
      if (record.state === 'ended' && !awaitsReplacement(record) && this.lacks()) {
        this.warnIncomplete(record);
        return record;
      }
    }
    const silent = record
      ? this.watch.age > HEARTBEAT_TIMEOUT_MS
      : steadyNow() - this.started > FIRST_RECORD_TIMEOUT_MS;
    const late = silent || (record && this.watch.age > EC2_CHECK_MS);
    if (late && steadyNow() - this.asked > ASK_INTERVAL_MS) {
      const ended = await this.ask(record, silent);
      if (ended) return ended;
    }
    if (record?.state === 'running') this.openStream();
    if (record?.access === 'presigned' && this.formSince && this.formSince.age > FORM_AGE_MS) await this.renew();
    return null;
  }

  /**
   * An instance names the run that it has of a training; what the client signed says which training the run is of, and
   * whose. @throws Problem `REPLY_INVALID`
   */
  private assertSameTraining({ id, runKey, caller }: RunRecord): void {
    const { run } = this;
    if (runKey === run.runKey && caller === run.caller) return;
    const what = runKey === run.runKey ? `of ${run.caller}` : 'of this training';
    throw invalidReply(run.instance, `it describes ${id} as a run ${what}, which it is not according to its record`);
  }

  /** The run may continue on another instance, with its log as far as it was saved. */
  private adopt(record: RunRecord): void {
    if (record.instance === this.run.instance) {
      this.sure = Math.max(this.sure, Math.min(this.at, record.log.size));
      return;
    }
    this.context.printer.line(
      `${record.id} continues on ${record.instance}, after ${this.run.instance} (attempt ${record.attempt})`,
    );
    this.run = record;
    Object.assign(this, { awaited: 0, fleet: null });
    this.stream?.close();
    Object.assign(this, { stream: undefined, opened: -Infinity, reopen: 2_500, told: undefined });
    if (!this.options.quiet) this.at = Math.min(this.at, Math.max(this.sure, record.takenOver?.log ?? this.at));
    this.sure = this.at;
  }

  /** Whether the store has lacked for too long what an instance writes before it says that its run has ended. */
  private lacks(): boolean {
    this.lackingSince ??= steadyNow();
    return steadyNow() - this.lackingSince >= (this.options.patience ?? LACKING_TIMEOUT_MS);
  }

  private warnIncomplete({ id, log }: RunRecord): void {
    if (this.at >= log.size || this.options.quiet) return;
    this.context.printer.warn(
      `The log of ${id} has ${log.size} bytes, and the store lacks those from ${this.at} on. Another program has changed or deleted them: check who may write to the bucket.`,
    );
  }

  /** What came from the store was nobody's word until the run's record named it. */
  private verifyShown(record: RunRecord): void {
    const segment = this.options.quiet ? null : this.shown.changed(record);
    if (segment === null || this.warned) return;
    this.warned = true;
    this.context.printer.warn(
      `The log that was shown differs from the one that the instance recorded: log/${segment} of ${record.id}. Another program is writing to this prefix.`,
    );
  }

  /** While the next attempt is awaited: whether the fleet that is to begin it is gone, and was the last time, too. */
  private async isGone(record: RunRecord): Promise<boolean> {
    if (this.awaited !== record.attempt) {
      this.awaited = record.attempt;
      const how = record.outcome === 'lost' ? 'is gone' : 'was taken away';
      this.context.printer.line(
        `The spot instance ${interruptedInstance(record)} ${how}; waiting for its fleet to launch another one.`,
      );
    }
    if (steadyNow() - (this.fleet?.asked ?? -Infinity) < FLEET_CHECK_MS) return false;
    const before = this.fleet?.gone ?? false;
    const { fleets } = await findFleet(this.context.aws, record.id, this.options.signal);
    this.fleet = { asked: steadyNow(), gone: !fleets.length };
    return before && this.fleet.gone;
  }

  /** What the store has of the log from here on. */
  private async readStored(): Promise<Buffer> {
    const { at } = this;
    const before = this.begun ? 0 : at % SEGMENT_BYTES;
    const piece = await this.log.read(at - before, this.options.signal);
    if (!this.begun && piece.length > before) this.shown.addUnshown(at, piece.subarray(0, before));
    this.begun = true;
    return piece.subarray(before);
  }

  /**
   * Takes what the store has. Of a run that has ended, only what its record names is the run's.
   * @returns whether there was more.
   */
  private acceptStored(from: number, data: Buffer, record: RunRecord | null): boolean {
    const end = record?.state === 'ended' ? record.log.size : Infinity;
    if (!this.accept(from, data.subarray(0, Math.max(0, end - from)))) return false;
    if (this.sure === from) this.sure = this.at;
    this.storedTo = this.at;
    return true;
  }

  /** Whoever may write to the bucket may add to the log of a run that has ended. */
  private async warnExcess({ id, log, outcome }: RunRecord): Promise<void> {
    // The next attempt may write before its record says so.
    if (this.options.quiet || outcome === 'interrupted' || outcome === 'lost') return;
    const shown = this.storedTo > log.size;
    if (!shown && !(await this.log.read(log.size, this.options.signal)).length) return;
    this.context.printer.warn(
      `The store has more in the log of ${id} than the ${log.size} bytes that its record names. The rest is not the run's and was ${shown ? 'shown before the run had ended' : 'not shown'}. Another program is writing to this prefix.`,
    );
  }

  /** Takes a piece of the log, whoever brings it: what was shown is dropped, what lies ahead comes again. */
  private accept(offset: number, data: Buffer): boolean {
    const known = this.at - offset;
    if (known < 0 || known >= data.length) return false;
    const piece = data.subarray(known);
    this.shown.add(this.at, piece);
    this.at += piece.length;
    this.options.onLog(piece);
    return true;
  }

  /** Opens one, and another where it has ended: an agent's streams end for good where its channel was paused once. */
  private openStream(): void {
    const { once, quiet, turns } = this.options;
    if (once || quiet || turns || this.stream === null || steadyNow() - this.started < STREAM_DELAY_MS) return;
    if (this.stream && !this.stream.over) return;
    if (steadyNow() - this.opened < this.reopen) return;
    this.opened = steadyNow();
    this.reopen = Math.min(60_000, this.reopen * 2);
    this.stream = LogStream.open(this.context, this.run, this.at, (offset, data) => void this.accept(offset, data));
  }

  /** Nothing is heard of the run: EC2 is asked whether its instance is there, and the instance, if `silent`, how it goes. */
  private async ask(record: RunRecord | null, silent: boolean): Promise<RunRecord | null> {
    this.asked = steadyNow();
    try {
      if (!silent) return await assertThere(this.context, this.run);
      this.told = await pollRun(this.context, this.run, this.at, this.options.signal);
    } catch (error) {
      const problem = error as Problem;
      if (problem.code === 'INSTANCE_GONE') {
        const gone = lost(record ?? recordOf(this.run), problem, this.watch.age);
        if (!awaitsReplacement(gone) || this.options.once) {
          if (record?.state === 'ended') this.warnIncomplete(record);
          return gone;
        }
        return (await this.isGone(gone)) ? gone : null;
      }
      if (!UNREACHABLE_CODES.includes(problem.code)) throw error;
      this.silence.continue(this.run, problem);
      return null;
    }
    const { run, log, report } = this.told;
    const before = this.at;
    while (this.accept(log.offset, inflated(log)) && log.size > this.at) {
      const more = await pollRun(this.context, this.run, this.at, this.options.signal);
      Object.assign(log, more.log);
    }
    this.silence.answered(this.run, this.at > before || run.outcome !== null, report);
    const fresh = this.formSince !== undefined && this.formSince.age < RENEW_INTERVAL_MS;
    if (!report?.saved && !fresh && (report?.trouble || run.outcome !== null)) await this.renew();
    const now = recordOf(run);
    if (!record) this.options.onState(now);
    if (run.outcome !== null && report?.saved && record?.state !== 'ended' && this.lacks()) {
      throw new Problem(
        'RECORD_UNVERIFIED',
        `The store lacks the record of the end of ${run.id}, which its instance has written.`,
        {
          next: `Another program has deleted it or put an old one back: check who may write to the bucket. The run is on ${run.instance}: ${run.directory}`,
        },
      );
    }
    // The store can't be told, and nothing more is to be expected.
    if (run.outcome !== null && this.at >= log.size && report?.gaveUp) return notSaved(now, report.trouble);
    if (run.outcome !== null && this.at >= log.size && report?.trouble && !record) return now;
    return null;
  }

  private async renew(): Promise<void> {
    this.formSince = new Moment();
    await renewUploadForm(this.context, this.run, this.options.signal).catch((error: Error) =>
      this.context.printer.detail(`Could not renew the instance's access to the store: ${error.message}`),
    );
  }

  private withResumeHint(error: Problem): Problem {
    const isActive = !this.told?.run.outcome;
    return withResumeHint(error, { project: this.context.project, run: this.run.id, isActive });
  }
}
