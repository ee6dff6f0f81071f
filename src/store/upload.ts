import { isTransient } from '../aws/reason';
import { Problem } from '../report/problem';
import { NewerCondemned, readCondemned, YOUNG, type Condemned } from './condemned';
import type { StoreKeys } from './keys';
import { renamed, type Pack } from './pack';
import type { PackIndex } from './pack-index';
import type { Store } from './store';
import { steadyNow } from '../system/moment';

/** The largest pack, bytes: what a killed upload sends twice at the most is about one. */
export const LARGEST_PACK = 8 * 1024 * 1024;
/** The smallest that is closed while more is to come. */
const SMALLEST_PACK = 1024 * 1024;
/** A pack should take so long to send, s. */
const SECONDS = 2;
/** On its way at once: bytes in all while the link is slow, and packs. */
const WINDOW = LARGEST_PACK;
const CONNECTIONS = 4;
/** Trouble on the way to S3 is waited out so long, ms, beyond the SDK's own retries. */
const PATIENCE = 120_000;
/** A pack that is there since less, ms, can't be condemned before it is named. */
const SAFE = YOUNG - 24 * 3_600_000;

/**
 * Sends packs side by side: as many bytes as the link carries in about two seconds, one pack's worth while that is
 * not known. What is there is written down pack by pack, so that whoever comes after a kill goes on from there.
 */
export class PackUploads {
  private readonly flying = new Set<Promise<void>>();
  private inFlight = 0;
  private failed: unknown;
  private started = 0;
  private concurrency = CONNECTIONS;
  private condemned?: Condemned;
  /** Bytes that S3 has taken, and packs that stood in the place of others. */
  sent = 0;
  replaced: string[] = [];

  constructor(
    private readonly store: Store,
    private readonly keys: StoreKeys,
    private readonly index: PackIndex,
    private readonly options: { signal?: AbortSignal; onSent: (pack: Pack) => void; onWait: (why: string) => void },
  ) {}

  /** How large the next pack should be, stored bytes: as fast as the link is, so that there are several side by side. */
  get packSize(): number {
    return Math.max(SMALLEST_PACK, Math.min(LARGEST_PACK, (this.rate * SECONDS) / 4));
  }

  /** Bytes a second, as measured so far. */
  get rate(): number {
    return this.started && this.sent ? this.sent / ((steadyNow() - this.started) / 1000) : 0;
  }

  /** Begins to send a pack once there is room on the way; throws what went wrong with an earlier one. */
  async send(pack: Pack): Promise<void> {
    while (this.flying.size && !this.hasRoom(pack.bytes.length)) await Promise.race(this.flying);
    if (this.failed) throw this.failed;
    this.started ||= steadyNow();
    this.inFlight += pack.bytes.length;
    const flight: Promise<void> = this.deliver(pack)
      .catch((error: unknown) => void (this.failed ??= error))
      .finally(() => {
        this.inFlight -= pack.bytes.length;
        this.flying.delete(flight);
      });
    this.flying.add(flight);
  }

  async settle(): Promise<void> {
    await Promise.all(this.flying);
    if (this.failed) throw this.failed;
  }

  private hasRoom(bytes: number): boolean {
    if (this.failed) return true;
    const wide = this.rate * SECONDS;
    const window = wide > 2 * WINDOW ? wide : WINDOW;
    return this.flying.size < this.concurrency && this.inFlight + bytes <= window;
  }

  private async deliver(pack: Pack): Promise<void> {
    const { signal, onSent, onWait } = this.options;
    const since = steadyNow();
    for (let wait = 1_000; ; wait = Math.min(15_000, wait * 2)) {
      try {
        pack = await this.put(pack);
        this.sent += pack.bytes.length;
        this.index.add({
          sha256: pack.sha256,
          size: pack.bytes.length,
          chunks: pack.chunks.map(([sha256]) => sha256),
        });
        if (this.concurrency < CONNECTIONS) this.concurrency++;
        return onSent(pack);
      } catch (error) {
        const cause = error instanceof Problem ? error.cause : error;
        if (signal?.aborted || !isTransient(cause) || steadyNow() - since > PATIENCE) throw error;
        // Throttled or cut off: fewer at once, and later.
        this.concurrency = Math.max(1, this.concurrency >> 1);
        onWait((error as Error).message.split('\n')[0]);
        await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random() / 2)));
      }
    }
  }

  /**
   * Stores a pack, under another name where that of its bytes is condemned: `prune` may remove what it has condemned at
   * any moment, and does not look whether somebody has found it there.
   * @returns the pack as it was stored.
   */
  private async put(pack: Pack): Promise<Pack> {
    for (;;) {
      const key = this.keys.pack(pack.sha256);
      const { how, age } = await this.store.putNamed(key, pack.sha256, pack.bytes, this.options.signal);
      if (how === 'replaced') this.replaced.push(pack.sha256);
      if (how !== 'there' || age < SAFE) return pack;
      if (!(await this.isCondemned(`p/${pack.sha256}`))) return pack;
      pack = renamed(pack);
    }
  }

  /** What is not condemned now will not be removed until long after this sync: asked once. */
  private async isCondemned(name: string): Promise<boolean> {
    try {
      this.condemned ??= await readCondemned(this.store, this.keys.condemned);
      return this.condemned.damaged || this.condemned.since.has(name);
    } catch (error) {
      if (error instanceof NewerCondemned) return true;
      throw error;
    }
  }
}
