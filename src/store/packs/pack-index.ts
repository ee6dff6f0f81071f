import { z } from 'zod';
import { formatCount } from '../../report/units';
import { appendCache, readCache, writeCache } from '../../system/cache-file';
import { INDEX_CACHE_TTL_MS } from '../pending-deletes';
import type { StoreKeys } from '../keys';
import type { Store } from '../store';
import {
  MAX_INDEX_BYTES,
  type PackName,
  type IndexedPack,
  formatIndex,
  NewerIndex,
  parseIndex,
  splitIndex,
  packRecord,
  readPack,
  isIndex,
  indexName,
  indexTime,
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

interface ReadIndex {
  name: string;
  packs: IndexedPack[] | 'gone' | 'failed';
}

const REBUILD = '"npx nx-ec2 store prune --apply" replaces it.';

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
  private readonly byChunk = new Map<string, Known>();
  /** Packs that were uploaded from here and are in no index object yet. */
  private readonly unwritten = new Map<string, IndexedPack>();
  /** Index objects that were read, and the time in their names up to which all were, ms. */
  private readonly read = new Set<string>();
  private upTo = 0;
  private asked = 0;
  private loaded = false;
  private refreshing?: Promise<void>;

  /** @param file where it is remembered, absolute: one for each bucket and prefix; undefined: not at all. */
  constructor(
    private readonly store: Store,
    private readonly keys: StoreKeys,
    private readonly file: string | undefined,
    private readonly warn: (text: string) => void = () => undefined,
  ) {}

  /** The pack that holds a chunk, as far as is known. */
  find(chunk: string): PackName | undefined {
    this.load();
    const pack = this.byChunk.get(chunk);
    return pack && isFresh(pack.at, Date.now()) ? pack : undefined;
  }

  /**
   * Learns what others have uploaded since it was asked last. What can't be read is as if it were not there, until it
   * is asked again; what is gone was put into another index, which is there: `prune` writes it first. One that is
   * damaged or too large is ignored, and named once: what only it knows is uploaded again.
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
    for (let tries = 0; tries < MAX_LIST_ATTEMPTS; tries++) {
      const after = this.upTo > LATE_INDEX_MS ? prefix + timeOfName(new Date(this.upTo - LATE_INDEX_MS)) : undefined;
      const listed = (await this.store.list(prefix, MAX_INDEXES, after)).map(({ key }) => key.slice(prefix.length));
      const names = listed.filter((name) => isIndex(name) && !this.read.has(name));
      const found = await this.readIndexes(prefix, names);
      const done = found.filter(({ packs }) => packs !== 'failed').map(({ name }) => name);
      const failed = found.find(({ packs }) => packs === 'failed');
      // A name from a clock that is ahead must not hide those that come after it.
      const latest = Math.min(
        (await this.store.now()).getTime(),
        indexTime(failed?.name ?? listed.findLast(isIndex) ?? '') ?? 0,
      );
      this.upTo = Math.max(this.upTo, latest);
      this.asked = now;
      for (const name of done) this.read.add(name);
      const lines = found
        .flatMap(({ packs }) => (Array.isArray(packs) ? packs : []))
        .map((pack) => this.line(pack, now, false));
      this.append([...lines, JSON.stringify({ asked: now, read: done, upTo: this.upTo })]);
      if (!found.some(({ packs }) => packs === 'gone')) return;
    }
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
    for (const packs of splitIndex([...this.unwritten.values()])) {
      const bytes = formatIndex(packs);
      const name = indexName(bytes, await this.store.now());
      await this.store.put(this.keys.index(name), bytes);
      for (const { sha256 } of packs) this.unwritten.delete(sha256);
      this.append([JSON.stringify({ published: packs.map(({ sha256 }) => sha256) })]);
    }
  }

  private async readIndexes(prefix: string, names: readonly string[]): Promise<ReadIndex[]> {
    const found: ReadIndex[] = [];
    const left = names.entries();
    const work = async () => {
      for (const [at, name] of left) found[at] = { name, packs: await this.readIndex(prefix + name) };
    };
    await Promise.all(Array.from({ length: CONCURRENT_READS }, work));
    return found;
  }

  private async readIndex(key: string): Promise<ReadIndex['packs']> {
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
    this.learn(pack, at, own);
    return JSON.stringify({ at, own, pack: packRecord(pack).toString('base64') });
  }

  private learn(pack: IndexedPack, at: number, own: boolean): void {
    const name = { sha256: pack.sha256, size: pack.size, at };
    for (const chunk of pack.chunks) this.byChunk.set(chunk, name);
    if (own) this.unwritten.set(pack.sha256, pack);
  }

  private load(): void {
    if (this.loaded) return;
    this.loaded = true;
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
        if (record.asked === undefined) kept.push(line);
        if (record.pack)
          this.learn(readPack(Buffer.from(record.pack, 'base64'), 0).pack, record.at!, record.own ?? false);
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

  private drop(packs: ReadonlySet<string>): void {
    for (const [chunk, { sha256 }] of this.byChunk) if (packs.has(sha256)) this.byChunk.delete(chunk);
    for (const sha256 of packs) this.unwritten.delete(sha256);
  }

  private append(lines: string[]): void {
    if (!this.file || !lines.length) return;
    // A line break first: what a killed process left unfinished must not swallow it.
    appendCache(this.file, `\n${lines.join('\n')}\n`);
  }
}
