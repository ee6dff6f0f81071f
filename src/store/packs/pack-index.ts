import { z } from 'zod';
import { formatCount, formatSize } from '../../report/units';
import { appendCache, readCache, removeOversized, writeCache } from '../../system/cache-file';
import { mapConcurrent } from '../../system/side-by-side';
import { INDEX_CACHE_TTL_MS } from '../pending-deletes';
import { ChunkMap } from '../../snapshot/chunk-list';
import type { StoreKeys } from '../keys';
import type { Store } from '../store';
import {
  MAX_INDEX_BYTES,
  type PackName,
  type IndexedPack,
  formatRecords,
  NewerIndex,
  parseIndex,
  splitIndex,
  packRecord,
  readPack,
  isIndex,
  indexName,
  indexTime,
  recordedChunks,
  timeOfName,
} from './index-format';
import { UnusableObject } from '../objects/unusable';
/** The store is asked for indexes again after so long, ms. */
const INDEX_REFRESH_MS = 60_000;
/** An index may appear in the store this long, ms, after others with later names: clocks differ. */
const LATE_INDEX_MS = 24 * 3_600_000;
/** A clock that was set back by more than this, ms, makes what was written before of no use. */
const MAX_CLOCK_SKEW_MS = 3_600_000;
/** Indexes are listed so often at the most while they go between being listed and being read. */
const MAX_LIST_ATTEMPTS = 3;
/** How many there may be, and how many are read side by side. */
export const MAX_INDEXES = 100_000;
const CONCURRENT_READS = 8;

/** What a machine learns of indexes at most: anybody may have written them who can write to the bucket. */
interface PackIndexLimits {
  /** Chunks that it knows of packs which others have uploaded: about a hundred bytes of memory each. */
  chunks: number;
  /** Stored bytes of the indexes that one refresh reads. */
  bytes: number;
}

const LIMITS: PackIndexLimits = { chunks: 4 * 1024 * 1024, bytes: 256 * 1024 * 1024 };

const names = z.array(z.string()).optional();
const time = z.number().min(0).max(8e15).optional();

/** A line of what this machine remembers. */
const lineSchema = z.object({
  /** When a pack was seen, ms since the epoch; `own`: uploaded from here. */
  at: time,
  own: z.boolean().optional(),
  pack: z.string().optional(),
  forget: names,
  published: names,
  /** When the store was asked for indexes, those that were read, and the time up to which it was asked, ms. */
  asked: time,
  read: names,
  upTo: time,
});
type Line = z.infer<typeof lineSchema>;

const REBUILD = '"npx nx-ec2 store prune --apply" replaces it.';

/** The number of no pack. */
const FORGOTTEN = -1;

interface Known extends PackName {
  at: number;
}

function isFresh(at: number, now: number): boolean {
  return now - at < INDEX_CACHE_TTL_MS && at < now + MAX_CLOCK_SKEW_MS;
}

/**
 * Which packs hold which chunks, as this machine knows it: from what it uploaded itself, written down pack by pack, so
 * that an upload that was killed continues where it stopped; and from the store's index objects, which everyone writes.
 */
export class PackIndex {
  /** The number of a chunk's pack. */
  private readonly byChunk = new ChunkMap();
  private readonly packs: Known[] = [];
  /** Packs that were uploaded from here and are in no index object yet, as it will have them, by their names. */
  private readonly unwritten = new Map<string, Buffer>();
  /** Index objects that were read, and the time in their names up to which all were, ms. */
  private readonly read = new Set<string>();
  private upTo = 0;
  private asked = 0;
  private loaded = false;
  /** Chunks of packs that others have uploaded, each as often as it was learned. */
  private learned = 0;
  private refreshing?: Promise<void>;

  /** @param file where it is remembered, absolute: one for each bucket and prefix; undefined: not at all. */
  constructor(
    private readonly store: Store,
    private readonly keys: StoreKeys,
    private readonly file: string | undefined,
    private readonly warn: (text: string) => void = () => undefined,
    private readonly limits = LIMITS,
  ) {}

  /** The pack that holds a chunk, as far as is known. */
  find(chunk: string): PackName | undefined {
    this.load();
    const pack = this.packOf(chunk);
    return pack && isFresh(pack.at, Date.now()) ? pack : undefined;
  }

  /**
   * Learns what others have uploaded since it was asked last. What can't be read is as if it were not there, until it
   * is asked again; what is gone was put into another index, which is there: `prune` writes it first. One that is
   * damaged or too large is ignored, and named once: what only it knows is uploaded again. Of more than can be learned,
   * the oldest are ignored.
   */
  refresh(): Promise<void> {
    this.refreshing ??= this.ask().finally(() => (this.refreshing = undefined));
    return this.refreshing;
  }

  private async ask(): Promise<void> {
    this.load();
    if (Date.now() - this.asked < INDEX_REFRESH_MS) return;
    const now = Date.now();
    const prefix = this.keys.index('');
    let left = this.limits.bytes;
    for (let tries = 0; tries < MAX_LIST_ATTEMPTS; tries++) {
      const after = this.upTo > LATE_INDEX_MS ? prefix + timeOfName(new Date(this.upTo - LATE_INDEX_MS)) : undefined;
      const listed = (await this.store.list(prefix, MAX_INDEXES, after)).map(({ key, size }) => ({
        name: key.slice(prefix.length),
        size,
      }));
      const failed: string[] = [];
      const done: string[] = [];
      let [gone, skipped] = [0, 0];
      // The newest first: prune writes what it merges anew.
      const unread = listed.filter(({ name }) => isIndex(name) && !this.read.has(name)).reverse();
      await mapConcurrent(unread, CONCURRENT_READS, async ({ name, size }) => {
        if ((left -= size) < 0 || this.learned >= this.limits.chunks) skipped++;
        else {
          const packs = await this.readIndex(prefix + name);
          if (packs === 'failed') return void failed.push(name);
          if (packs === 'gone') gone++;
          else if (!this.learnAll(packs, now)) skipped++;
        }
        done.push(name);
      });
      // A name from a clock that is ahead must not hide those that come after it.
      const latest = Math.min(
        (await this.store.now()).getTime(),
        indexTime(failed.sort()[0] ?? listed.findLast(({ name }) => isIndex(name))?.name ?? '') ?? 0,
      );
      this.upTo = Math.max(this.upTo, latest);
      this.asked = now;
      for (const name of done) this.read.add(name);
      this.append([JSON.stringify({ asked: now, read: done, upTo: this.upTo })]);
      if (skipped) this.warn(this.describeSkipped(skipped));
      if (!gone) return;
    }
  }

  /** Learns the packs of one index. @returns false if they are too many. */
  private learnAll(packs: readonly IndexedPack[], at: number): boolean {
    const chunks = packs.reduce((sum, pack) => sum + pack.chunks.length, 0);
    if (this.learned + chunks > this.limits.chunks) return false;
    this.append(packs.map((pack) => this.line(pack, at, false)));
    return true;
  }

  private describeSkipped(count: number): string {
    const { chunks, bytes } = this.limits;
    return `The indexes of the store have more than ${formatCount(chunks, 'chunk')} or ${formatSize(bytes)}: ${formatCount(count, 'index object')} ${count === 1 ? 'is' : 'are'} ignored, and what only ${count === 1 ? 'it lists' : 'they list'} is uploaded again when needed. To remove packs that nothing needs: npx nx-ec2 store prune --apply`;
  }

  /** Writes down that a pack is in the store. */
  add(pack: IndexedPack): void {
    this.load();
    this.append([this.line(pack, Date.now(), true)]);
  }

  /** Forgets packs that turned out not to hold what was thought. */
  forget(packs: ReadonlySet<string>): void {
    this.load();
    this.drop(packs);
    this.append([JSON.stringify({ forget: [...packs] })]);
  }

  /** Tells everyone of the packs that were uploaded from here. */
  async publish(): Promise<void> {
    if (!this.unwritten.size) return;
    for (const packs of splitIndex([...this.unwritten], ([, record]) => recordedChunks(record))) {
      const bytes = formatRecords(packs.map(([, record]) => record));
      const published = packs.map(([sha256]) => sha256);
      const name = indexName(bytes, await this.store.now());
      await this.store.put(this.keys.index(name), bytes);
      for (const sha256 of published) this.unwritten.delete(sha256);
      this.append([JSON.stringify({ published })]);
    }
  }

  private async readIndex(key: string): Promise<IndexedPack[] | 'gone' | 'failed'> {
    let bytes: Buffer | null;
    try {
      bytes = await this.store.get(key, MAX_INDEX_BYTES);
    } catch (error) {
      return error instanceof UnusableObject ? this.ignore(error.what) : 'failed';
    }
    if (!bytes) return 'gone';
    try {
      return parseIndex(bytes);
    } catch (error) {
      const next = error instanceof NewerIndex ? 'Update nx-ec2.' : REBUILD;
      return this.ignore(
        `The index ${key} (${formatCount(bytes.length, 'byte')}) can't be read: ${(error as Error).message}.`,
        next,
      );
    }
  }

  private ignore(why: string, next = REBUILD): [] {
    this.warn(`${why} It is ignored; the packs it lists are uploaded again when needed. ${next}`);
    return [];
  }

  private line(pack: IndexedPack, at: number, own: boolean): string {
    const record = packRecord(pack);
    this.learn(pack, at, own ? record : null);
    return JSON.stringify({ at, own, pack: record.toString('base64') });
  }

  /** @param own its record, if it was uploaded from here. */
  private learn(pack: IndexedPack, at: number, own: Buffer | null): void {
    const number = this.packs.push({ sha256: pack.sha256, size: pack.size, at }) - 1;
    for (const chunk of pack.chunks) {
      // Of what one refresh has learned, the newest index came first.
      if (own || this.packOf(chunk)?.at !== at) this.byChunk.set(chunk, number);
    }
    if (own) this.unwritten.set(pack.sha256, own);
    else this.learned += pack.chunks.length;
  }

  private load(): void {
    if (this.loaded) return;
    this.loaded = true;
    // Several processes may have appended to it at once.
    if (this.file) removeOversized(this.file);
    const text = readCache(this.file, (bytes) => bytes.toString()) ?? '';
    const now = Date.now();
    const kept: string[] = [];
    let expired = false;
    for (const line of text.split('\n')) {
      try {
        const record: Line = lineSchema.parse(JSON.parse(line));
        if (record.pack && !isFresh(record.at!, now)) {
          expired = true;
          continue;
        }
        if (record.pack && !record.own && this.learned >= this.limits.chunks) continue;
        if (record.asked === undefined) kept.push(line);
        if (record.pack) {
          const bytes = Buffer.from(record.pack, 'base64');
          this.learn(readPack(bytes, 0).pack, record.at!, record.own ? bytes : null);
        }
        if (record.forget) this.drop(new Set(record.forget));
        for (const each of record.published ?? []) this.unwritten.delete(each);
        for (const each of record.read ?? []) this.read.add(each);
        if (record.upTo !== undefined) [this.upTo, this.asked] = [record.upTo, record.asked ?? 0];
      } catch {
        // The last line of a process that was killed.
      }
    }
    if (!expired) return;
    // What is no longer believed is asked for from the beginning.
    [this.upTo, this.asked] = [0, 0];
    this.read.clear();
    writeCache(this.file!, [...kept, ''].join('\n'));
  }

  private packOf(chunk: string): Known | undefined {
    const number = this.byChunk.get(chunk);
    return number === undefined || number === FORGOTTEN ? undefined : this.packs[number];
  }

  private drop(packs: ReadonlySet<string>): void {
    for (const [chunk, number] of this.byChunk)
      if (number !== FORGOTTEN && packs.has(this.packs[number].sha256)) this.byChunk.set(chunk, FORGOTTEN);
    for (const sha256 of packs) this.unwritten.delete(sha256);
  }

  private append(lines: string[]): void {
    if (!this.file || !lines.length) return;
    // A line break first: what a killed process left unfinished must not swallow it.
    appendCache(this.file, `\n${lines.join('\n')}\n`);
  }
}
