import { formatCount } from '../../report/units';
import type { Chunk } from '../../snapshot/chunk';
import { PackWriter } from '../../store/packs/pack';
import { PacksByChunk } from '../../store/packs/packs-by-chunk';
import { MIN_PACK_BYTES, PackUploads } from '../../store/packs/upload';
import type { SyncContext } from '../context';

/** From these rates on, bytes a second, the link is faster than better compression is. */
const RATES = [
  { from: 20 * 1024 * 1024, level: 1 },
  { from: 3 * 1024 * 1024, level: 4 },
];
/** Of zlib, while the link is slower than that. */
const BEST_LEVEL = 6;
/** Of zlib, while no rate is known: the first pack should leave soon. */
const FIRST_LEVEL = 4;
/** What is collected for one pack at the most, bytes before compression: a pack holds 16 MiB. */
const MAX_PACK_INPUT_BYTES = 14 * 1024 * 1024;
/** What compression is taken to leave until it was measured. */
const ASSUMED_COMPRESSION_RATIO = 0.35;
/** An upload is near its end if the rest takes no longer than this, s. */
const NEAR_END_S = 2.5;
/** What a link is taken for until it was measured, bytes a second. */
const ASSUMED_RATE = 2 * 1024 * 1024;
/** Packs that are being compressed while others are on their way. */
const MAX_PREPARED_PACKS = 1;

/** Makes packs of chunks and uploads them, while more chunks come. */
export class ChunkUpload {
  /** Where the chunks of packs that are made will be. */
  readonly packs = new PacksByChunk();
  readonly uploads: PackUploads;
  private readonly writer: PackWriter;
  /** Chunks whose pack is not made yet. */
  private readonly waiting = new Set<string>();
  private readonly begun: Promise<void>[] = [];
  private progress?: { update(bytes: number): void; end(): void };
  private onNearEnd?: () => void;
  /** Bytes of all chunks. */
  private total = 0;
  /** Bytes of the chunks that are stored, and of their packs. */
  private taken = 0;
  private stored = 0;

  constructor(
    private readonly context: Pick<SyncContext, 'store' | 'keys' | 'index' | 'printer' | 'transferOptions' | 'signal'>,
  ) {
    const { store, keys, index, printer, transferOptions, signal } = context;
    this.uploads = new PackUploads(store, keys, index, {
      signal,
      onSent: ({ size, chunks }) => {
        this.stored += size;
        this.taken += chunks.reduce((sum, [, bytes]) => sum + bytes, 0);
        this.checkNearEnd();
      },
      onProgress: (bytes) => this.progress?.update(bytes),
      onWait: (why) => printer.line(`Upload interrupted (${why}); trying again.`),
    });
    const { compression } = transferOptions;
    this.writer = new PackWriter(() => (compression === 'auto' ? levelFor(this.uploads.rate) : compression));
  }

  /** Whether a chunk was added. */
  has(chunk: string): boolean {
    return this.waiting.has(chunk) || this.packs.get(chunk) !== undefined;
  }

  /** From now on the progress is shown. @param total bytes of all chunks. @param onNearEnd called once, within seconds of the end. */
  show(total: number, onNearEnd?: () => void): void {
    this.progress = this.context.printer.progress('Uploading', total);
    this.total = total;
    this.onNearEnd = onNearEnd;
    this.checkNearEnd();
  }

  /** Adds a chunk, each once, whose bytes may change after this call; waits while enough is on its way. @throws what went wrong with an earlier pack. */
  async add(chunk: Chunk, data: Buffer): Promise<void> {
    this.context.signal?.throwIfAborted();
    this.waiting.add(chunk[0]);
    this.writer.add(chunk, data);
    const { ratio } = this;
    // While nothing is on its way, a smaller pack leaves sooner.
    const size = this.uploads.uploading.size ? this.uploads.packSize : MIN_PACK_BYTES;
    if (this.writer.waiting >= Math.min(MAX_PACK_INPUT_BYTES, size / ratio)) await this.closePack();
  }

  /** Ends when all packs are made: the last ones are on their way then. */
  async finish(): Promise<{ sent: Promise<void> }> {
    await this.closePack();
    await Promise.all(this.begun);
    this.writer.close();
    const sent = this.uploads.settle().then(() => this.report());
    sent.finally(() => this.progress?.end()).catch(() => undefined);
    return { sent };
  }

  /** Waits for the packs that are on their way, after a failure: none outlives this call. */
  async settle(): Promise<void> {
    this.progress?.end();
    await Promise.allSettled(this.begun);
    await this.uploads.settle().catch(() => undefined);
  }

  /** What compression leaves. */
  private get ratio(): number {
    return this.taken ? Math.max(0.02, this.stored / this.taken) : ASSUMED_COMPRESSION_RATIO;
  }

  private checkNearEnd(): void {
    const seconds = ((this.total - this.taken) * this.ratio) / (this.uploads.rate || ASSUMED_RATE);
    if (!this.total || seconds > NEAR_END_S) return;
    this.onNearEnd?.();
    this.onNearEnd = undefined;
  }

  private async closePack(): Promise<void> {
    const closing = this.writer.finish().then(async (pack) => {
      if (!pack) return;
      const { sha256, size, chunks } = pack;
      this.packs.add(
        { sha256, size },
        chunks.map(([chunk]) => chunk),
      );
      for (const [chunk] of chunks) this.waiting.delete(chunk);
      await this.uploads.send(pack);
    });
    closing.catch(() => undefined);
    this.begun.push(closing);
    if (this.begun.length > MAX_PREPARED_PACKS) await this.begun.shift();
  }

  private report(): void {
    const { replaced } = this.uploads;
    if (!replaced.length) return;
    this.context.printer.warn(
      `${formatCount(replaced.length, 'pack')} in the store did not match ${replaced.length === 1 ? 'its name and was' : 'their names and were'} replaced: ${replaced[0]}`,
    );
  }
}

/** @param rate of the link, bytes a second; 0: not measured. */
function levelFor(rate: number): number {
  if (!rate) return FIRST_LEVEL;
  return RATES.find(({ from }) => rate > from)?.level ?? BEST_LEVEL;
}
