import { isTransient } from '../../aws/reason';
import { Problem } from '../../report/problem';
import { NewerPendingDeletes, readPendingDeletes, MIN_AGE_MS, type PendingDeletes } from '../pending-deletes';
import type { StoreKeys } from '../keys';
import { renamed, type Pack } from './pack';
import { storeNames } from '../keys';
import type { PackIndex } from './pack-index';
import type { Store } from '../store';
import { steadyNow } from '../../system/moment';

/** The largest pack, bytes: what a killed upload sends twice at the most is about one. */
export const MAX_PACK_BYTES = 8 * 1024 * 1024;
/** The smallest that is closed while more is to come. */
export const MIN_PACK_BYTES = 1024 * 1024;
/** A pack should take so long to send, s. */
const PACK_DURATION_S = 2;
/** On its way at once: bytes in all while the link is slow, and packs. */
const WINDOW_BYTES = MAX_PACK_BYTES;
/** On its way at once, bytes, however fast the link is: all of it is in memory. */
const MAX_WINDOW_BYTES = 2 * MAX_PACK_BYTES;
const MAX_CONNECTIONS = 4;
/** An upload has nearly ended if the rest takes no longer than this, s; while the rate is not known: has no more bytes. */
const NEARLY_SENT_S = 2;
const NEARLY_SENT_BYTES = 4 * 1024 * 1024;
/** Trouble on the way to S3 is waited out so long, ms, beyond the SDK's own retries. */
const OUTAGE_TIMEOUT_MS = 120_000;
/** A pack that was stored less than this ago, ms, can't be marked for deletion before it is named. */
const MAX_UNMARKED_AGE = MIN_AGE_MS - 24 * 3_600_000;

/**
 * Sends packs side by side: as many bytes as the link carries in about two seconds, one pack's worth while that is
 * not known. Each complete pack is recorded, so that after a kill the next process continues from there.
 */
export class PackUploads {
  private readonly flying = new Set<Promise<void>>();
  private inFlight = 0;
  /** The names of the packs whose upload has not ended. */
  readonly uploading = new Set<string>();
  private failed: unknown;
  private started = 0;
  private concurrency = MAX_CONNECTIONS;
  private progress = 0;
  private pendingDeletes?: PendingDeletes;
  /** Bytes that S3 has taken, and packs that stood in the place of others. */
  sent = 0;
  replaced: string[] = [];

  constructor(
    private readonly store: Store,
    private readonly keys: StoreKeys,
    private readonly index: PackIndex,
    private readonly options: {
      signal?: AbortSignal;
      onSent: (pack: Pack) => void;
      onWait: (why: string) => void;
      /** Told of the bytes of chunks that were sent so far, also of packs that are on their way. */
      onProgress?: (bytes: number) => void;
    },
  ) {}

  /** How large the next pack should be, stored bytes: as fast as the link is, so that there are several side by side. */
  get packSize(): number {
    return Math.max(MIN_PACK_BYTES, Math.min(MAX_PACK_BYTES, (this.rate * PACK_DURATION_S) / 4));
  }

  /** Bytes a second, as measured so far. */
  get rate(): number {
    return this.started && this.sent ? this.sent / ((steadyNow() - this.started) / 1000) : 0;
  }

  /** Begins to send a pack once there is room on the way; throws what went wrong with an earlier one. */
  async send(pack: Pack): Promise<void> {
    while (this.flying.size && !this.hasRoom(pack.size)) await Promise.race(this.flying);
    if (this.failed) throw this.failed;
    this.started ||= steadyNow();
    this.inFlight += pack.size;
    this.uploading.add(pack.sha256);
    const flight: Promise<void> = this.deliver(pack)
      .then(() => void this.uploading.delete(pack.sha256))
      .catch((error: unknown) => void (this.failed ??= error))
      .finally(() => {
        this.inFlight -= pack.size;
        this.flying.delete(flight);
      });
    this.flying.add(flight);
  }

  async settle(): Promise<void> {
    await Promise.all(this.flying);
    if (this.failed) throw this.failed;
  }

  /**
   * Waits until the packs that are still on their way are likely to arrive within seconds.
   * @param accepted the store is known to accept packs; otherwise one must have been accepted first.
   */
  async waitUntilNearlySent(accepted: boolean): Promise<void> {
    while (!this.failed && this.flying.size && !this.isNearlySent(accepted)) await Promise.race(this.flying);
    if (this.failed) throw this.failed;
  }

  private isNearlySent(accepted: boolean): boolean {
    if (!accepted && !this.sent) return false;
    const limit = this.rate ? this.rate * NEARLY_SENT_S : NEARLY_SENT_BYTES;
    return this.inFlight <= limit;
  }

  private hasRoom(bytes: number): boolean {
    if (this.failed) return true;
    const wide = this.rate * PACK_DURATION_S;
    const window = wide > MAX_WINDOW_BYTES ? MAX_WINDOW_BYTES : WINDOW_BYTES;
    return this.flying.size < this.concurrency && this.inFlight + bytes <= window;
  }

  private async deliver(pack: Pack): Promise<void> {
    const { signal, onSent, onWait } = this.options;
    const since = steadyNow();
    const arrived = this.progressOf(pack);
    for (let wait = 1_000; ; wait = Math.min(15_000, wait * 2)) {
      try {
        let written = 0;
        pack = await this.put(pack, (bytes) => arrived((written += bytes)));
        arrived(pack.size);
        this.sent += pack.size;
        this.index.add({
          sha256: pack.sha256,
          size: pack.size,
          chunks: pack.chunks.map(([sha256]) => sha256),
        });
        if (this.concurrency < MAX_CONNECTIONS) this.concurrency++;
        onSent(pack);
        return pack.release();
      } catch (error) {
        const cause = error instanceof Problem ? error.cause : error;
        if (signal?.aborted || !isTransient(cause) || steadyNow() - since > OUTAGE_TIMEOUT_MS) throw error;
        // Throttled or cut off: fewer at once, and later.
        this.concurrency = Math.max(1, this.concurrency >> 1);
        onWait((error as Error).message.split('\n')[0]);
        await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random() / 2)));
      }
    }
  }

  /** Takes how many of a pack's stored bytes were written by one attempt; the progress never goes back for another one. */
  private progressOf({ chunks, size: length }: Pack): (written: number) => void {
    const whole = chunks.reduce((sum, [, size]) => sum + size, 0);
    let most = 0;
    return (written) => {
      const now = Math.floor(whole * Math.min(1, written / length));
      if (now <= most) return;
      this.progress += now - most;
      most = now;
      this.options.onProgress?.(this.progress);
    };
  }

  /**
   * Stores a pack, under another name where that of its bytes is pending deletion: `prune` may remove such a pack at
   * any moment, and does not look whether somebody has found it there.
   * @returns the pack as it was stored.
   */
  private async put(pack: Pack, onWritten: (bytes: number) => void): Promise<Pack> {
    for (;;) {
      const key = this.keys.pack(pack.sha256);
      const { how, age } = await this.store.putContentAddressed(key, pack.sha256, pack.parts, {
        signal: this.options.signal,
        onWritten,
      });
      if (how === 'replaced') this.replaced.push(pack.sha256);
      if (how !== 'there' || age < MAX_UNMARKED_AGE) return pack;
      if (!(await this.isPendingDelete(storeNames.pack(pack.sha256)))) return pack;
      pack = renamed(pack);
    }
  }

  /** An object that is not pending deletion now stays until long after this sync: the list is read once. */
  private async isPendingDelete(name: string): Promise<boolean> {
    try {
      this.pendingDeletes ??= await readPendingDeletes(this.store, this.keys.pendingDeletes);
      return this.pendingDeletes.damaged || this.pendingDeletes.since.has(name);
    } catch (error) {
      if (error instanceof NewerPendingDeletes) return true;
      throw error;
    }
  }
}
