import { randomBytes } from 'node:crypto';
import { isTransient } from '../aws/reason';
import type { Edit, SyncPart, SyncReply, WatchPart } from '../command/plan';
import { remoteFailure } from '../command/remote-failure';
import { readReply, type Reply } from '../command/reply';
import { checkSynced } from '../command/reply-shapes';
import { sleep } from '../system/sleep';
import { Problem } from '../report/problem';
import { MAX_MESSAGE_BYTES, seal, unseal, type Seal } from './message-signature';
import { Moment } from '../system/moment';
import type { SyncContext } from '../sync/context';
import type { PresignedPost } from '../store/objects/types';

/** How patiently an instance is dealt with, ms. */
export interface WatchPace {
  /** Without a sign of life for so long, the watcher ends by itself. */
  lease: number;
  /** Its silence is spoken of after so long; after `patience` it counts as gone. Time without a connection is no silence. */
  notice: number;
  patience: number;
}

export const WATCH_PACE: WatchPace = { lease: 600_000, notice: 10_000, patience: 30_000 };

/** The watcher is there no more; `why` is its own word, `silent` where it has none. */
export class WatcherGone extends Error {
  constructor(
    readonly why: 'silent' | 'lease' | 'expired' | 'superseded' | 'terminated' | 'failed',
    message: string,
  ) {
    super(message);
  }
}

/** What is signed lives for an hour, and is signed again when it is so old, ms. */
const SIGNED_URL_AGE_MS = 600_000;
/** Between two looks for an acknowledgement, ms: at first, and after so long. */
const LOOKS: [from: number, every: number][] = [
  [0, 50],
  [2_000, 100],
  [5_000, 500],
];
/** Time limit of a request, ms, and what is added for each MiB: a dead connection may report no error. */
const REQUEST_TIMEOUT_MS = 10_000;
const TIMEOUT_PER_MIB_MS = 10_000;
/** Between two tries without a connection, ms. */
const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 15_000;

/** The process on the instance that takes edits, as seen from here. Each is started by a command of its own. */
export class Watcher {
  private readonly seal: Seal = { watchId: randomBytes(8).toString('hex'), key: randomBytes(32) };
  private readonly prefix: string;
  private number = 0;
  /** The edit that was given up before it was acknowledged: the watcher may have taken it, or still waits for it. */
  private unacknowledged?: Buffer;
  /** The unacknowledged message has reached the store, or may have. */
  private out = false;
  private treeKnown = true;
  /** Why the last acknowledgement that was read is unusable. */
  private unusable = '';
  private form?: { post: PresignedPost; signed: Moment };
  /** Keys of what was read, and is of no more use. */
  private used: string[] = [];
  private tidied = Promise.resolve();

  constructor(
    private readonly context: Pick<SyncContext, 'store' | 'keys' | 'printer' | 'instances'>,
    private readonly pace: WatchPace = WATCH_PACE,
    private readonly client: WatchPart['client'] = { id: randomBytes(8).toString('hex'), restart: false },
  ) {
    this.prefix = context.keys.watch(this.seal.watchId);
  }

  /** The tree holds what the last edit brought. False while an edit is unacknowledged, and after one that failed. */
  get isTreeKnown(): boolean {
    return this.treeKnown;
  }

  /** The instance may have applied an edit that it has not acknowledged. */
  get mayHaveApplied(): boolean {
    return this.out && !this.treeKnown;
  }

  /** What the command carries. */
  async start(): Promise<{ part: WatchPart; key: string }> {
    const part: WatchPart = {
      watchId: this.seal.watchId,
      prefix: this.prefix,
      urls: [await this.context.store.presignGet(`${this.prefix}1`)],
      post: (await this.signForm())!,
      lease: this.pace.lease / 1000,
      client: this.client,
    };
    return { part, key: this.seal.key.toString('base64') };
  }

  /**
   * Sends an edit, or with null a sign of life, and waits until it is acknowledged: with or without a connection, for
   * as long as the watcher may be there.
   * @param options.work how long the instance may take for it, ms.
   * @throws RemoteFailure for what the instance could not do; WatcherGone.
   */
  async send(
    sync: SyncPart | null,
    options: { signal?: AbortSignal; end?: boolean; work?: number } = {},
  ): Promise<SyncReply | null> {
    const { store } = this.context;
    if (this.unacknowledged) {
      const { signal } = options;
      await store.put(`${this.prefix}${this.number + 1}`, this.unacknowledged, { signal });
      this.number++;
      this.unacknowledged = undefined;
    }
    const n = this.number + 1;
    const edit: Edit = {
      v: 1,
      n,
      sync,
      urls: { [n + 1]: await store.presignGet(`${this.prefix}${n + 1}`) },
      post: await this.signForm(),
      end: options.end ?? false,
    };
    const bytes = seal(this.seal, 'edit', n, edit);
    this.used.push(`${this.prefix}${n}`, `${this.prefix}ack-${n}`);
    this.unacknowledged = bytes;
    if (sync) this.treeKnown = false;
    const reply = await this.exchange(n, bytes, options.work ?? 0, options.signal);
    this.unacknowledged = undefined;
    this.out = false;
    this.number = n;
    if (sync) this.treeKnown = reply.ok && (reply as { head?: unknown }).head === sync.snapshot;
    if (!reply.ok) throw remoteFailure(this.context.instances[0], 'sync', reply.error);
    return sync ? checkSynced(this.context.instances[0], reply) : null;
  }

  /** Looks whether the watcher has said why it ended. @throws WatcherGone where it has. */
  async listen(signal?: AbortSignal): Promise<void> {
    try {
      await this.acknowledgement(this.number + 1, signal);
    } catch (error) {
      // Without a connection there is nothing to be heard, and nothing that waits for one.
      if (signal?.aborted || !passes(error)) throw error;
    }
  }

  /** Removes what was read from the store. Never rejects: what stays is some bytes for the bucket's lifecycle rule. */
  tidy(): Promise<void> {
    const { used } = this;
    this.used = [];
    return (this.tidied = this.tidied.then(() => this.context.store.delete(used).catch(() => undefined)));
  }

  private async exchange(n: number, bytes: Buffer, work: number, signal?: AbortSignal): Promise<Reply> {
    const { printer } = this.context;
    const patience = this.pace.patience + work;
    let written = false;
    let silent = 0;
    let noticed = false;
    let wait = FIRST_RETRY_MS;
    for (let last = performance.now(); ;) {
      try {
        if (!written) {
          const limit = REQUEST_TIMEOUT_MS + (TIMEOUT_PER_MIB_MS * bytes.length) / 2 ** 20;
          await withTimeout(limit, signal, (signal) => this.context.store.put(`${this.prefix}${n}`, bytes, { signal }));
        }
        written = this.out = true;
        const reply = await this.acknowledgement(n, signal);
        if (wait > FIRST_RETRY_MS) printer.line('Connected again.');
        wait = FIRST_RETRY_MS;
        if (reply) return reply;
        // A machine that slept has not waited.
        silent += Math.min(1_000, performance.now() - last);
        last = performance.now();
        if (silent > patience) throw new WatcherGone('silent', this.silence(silent));
        if (silent > this.pace.notice && !noticed) {
          noticed = true;
          // Somebody may have written something else in its place.
          written = false;
          printer.line(this.notice());
        }
        await sleep(LOOKS.findLast(([from]) => silent >= from)![1], signal);
      } catch (error) {
        if (signal?.aborted || !passes(error)) throw error;
        if (wait === FIRST_RETRY_MS)
          printer.line(`Lost the connection (${(error as Error).message.split('\n')[0]}); trying again.`);
        // What was on its way may be there or not: once more does no harm.
        written = false;
        this.out = true;
        wait = Math.min(MAX_RETRY_MS, wait * 1.5);
        await sleep(wait, signal);
        last = performance.now();
      }
    }
  }

  private notice(): string {
    const [instance] = this.context.instances;
    return this.unusable
      ? `The acknowledgement of ${instance} can't be read (${this.unusable}). It is not known whether the last edit was applied; continuing.`
      : `No answer from ${instance} yet; continuing.`;
  }

  private silence(ms: number): string {
    const seconds = Math.round(ms / 1000);
    return this.unusable
      ? `its acknowledgement could not be read for ${seconds} s (${this.unusable}), and it is not known whether the last edit was applied`
      : `it has not answered for ${seconds} s`;
  }

  /**
   * What the watcher said of an edit, or in its place; null if it has said nothing yet. An object that can't be read may
   * be anybody's, as one with a wrong HMAC: the watcher may still write over it.
   */
  private async acknowledgement(n: number, signal?: AbortSignal): Promise<Reply | null> {
    const key = `${this.prefix}ack-${n}`;
    let bytes: Buffer | null;
    try {
      bytes = await withTimeout(REQUEST_TIMEOUT_MS, signal, (signal) =>
        this.context.store.get(key, MAX_MESSAGE_BYTES, signal),
      );
      this.unusable = '';
    } catch (error) {
      if (signal?.aborted || passes(error) || !(error instanceof Problem)) throw error;
      this.unusable = error.message.split('\n')[0];
      return null;
    }
    const reply = bytes && readReply(unseal(this.seal, 'ack', n, bytes));
    if (reply && !reply.ok && reply.error.code === 'WATCH_ENDED') {
      if (!this.used.includes(key)) this.used.push(key);
      throw new WatcherGone(reply.error.detail.why as WatcherGone['why'], reply.error.message);
    }
    return reply;
  }

  /** A form that is to be used from now on; null while the one before will do. */
  private async signForm(): Promise<PresignedPost | null> {
    if (this.form && this.form.signed.age < SIGNED_URL_AGE_MS) return null;
    this.form = { post: await this.context.store.presignPost(this.prefix), signed: new Moment() };
    return this.form.post;
  }
}

class TooLate extends Problem {}

/** Gives a request up that takes too long, which a dead connection would. */
async function withTimeout<T>(
  ms: number,
  signal: AbortSignal | undefined,
  request: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = AbortSignal.timeout(Math.round(ms));
  try {
    return await request(signal ? AbortSignal.any([signal, late]) : late);
  } catch (error) {
    if (late.aborted && !signal?.aborted)
      throw new TooLate('STORE_SILENT', `S3 has not answered for ${Math.round(ms / 1000)} s`);
    throw error;
  }
}

/** What is waited out, since it says nothing of the watcher: no connection, and credentials that can be renewed meanwhile. */
function passes(error: unknown): boolean {
  if (error instanceof TooLate) return true;
  if (!(error instanceof Problem)) return false;
  return isTransient(error.cause) || error.code === 'CREDENTIALS' || /Expired/.test(error.aws?.code ?? '');
}
