import { createHash } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import { z } from 'zod';
import { formatCount } from '../report/units';
import { inflate } from '../system/bounded';
import { appendCache, readCache, writeCache } from '../system/cache-file';
import { BELIEVED } from './condemned';
import type { StoreKeys } from './keys';
import { StoreTooLarge, type Store } from './store';

const HEADER = Buffer.from('NX-EC2 index 1\n');
const HASH = 32;
const NAME = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})-[0-9a-f]{16}$/;
/** The store is asked for indexes again after so long, ms. */
const FRESH = 60_000;
/** An index may come to be in the store so long, ms, after others whose names are later: clocks differ. */
const LATE = 24 * 3_600_000;
/** A clock that was set back by more than this, ms, makes what was written before of no use. */
const SKEW = 3_600_000;
/** Indexes are listed so often at the most while they go between being listed and being read. */
const TRIES = 3;
/** How many there may be, and how many are read side by side. */
export const MAX_INDEXES = 100_000;
const READS = 8;
/** An index object holds so many chunks at the most, or one pack. */
export const MOST_CHUNKS = 512 * 1024;
/** The most bytes of an index as it is stored, and inflated. */
export const MAX_INDEX = 32 * 1024 * 1024;
const MAX_INFLATED = 64 * 1024 * 1024;
/** Hashes do not compress: an index that inflates to more than so many times its size, and some bytes, is none. */
const MAX_RATIO = 4;
const SLACK = 64 * 1024;

export interface PackName {
  sha256: string;
  size: number;
}

export interface IndexedPack extends PackName {
  /** SHA-256 of each chunk. */
  chunks: string[];
}

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

const REBUILD = '"npx nx-ec2 prune --apply" replaces it.';

interface Known extends PackName {
  at: number;
}

/** Packs and their chunks as an index object has them: docs/FORMAT.md, "Store". */
export function formatIndex(packs: readonly IndexedPack[]): Buffer {
  return deflateSync(Buffer.concat([HEADER, ...packs.map(packRecord)]));
}

export class NewerIndex extends Error {}

/** @throws Error for what is no index, `NewerIndex` for one of another version. */
export function parseIndex(bytes: Buffer): IndexedPack[] {
  const data = inflate(bytes, Math.min(MAX_INFLATED, bytes.length * MAX_RATIO + SLACK));
  if (!data.subarray(0, HEADER.length).equals(HEADER)) {
    const version = /^NX-EC2 index (\d{1,9})\n/.exec(data.toString('latin1', 0, 32))?.[1];
    if (version) throw new NewerIndex(`an index of version ${version}`);
    throw new Error('not an index');
  }
  const packs: IndexedPack[] = [];
  for (let at = HEADER.length; at < data.length;) {
    const { pack, end } = readPack(data, at);
    packs.push(pack);
    at = end;
  }
  return packs;
}

/** The packs of one index object each. */
export function splitIndex(packs: readonly IndexedPack[]): IndexedPack[][] {
  const groups: IndexedPack[][] = [];
  let chunks = 0;
  for (const pack of packs) {
    chunks += pack.chunks.length;
    if (!groups.length || chunks > MOST_CHUNKS) {
      groups.push([]);
      chunks = pack.chunks.length;
    }
    groups.at(-1)!.push(pack);
  }
  return groups;
}

function packRecord({ sha256, size, chunks }: IndexedPack): Buffer {
  const record = Buffer.alloc(HASH + 8 + chunks.length * HASH);
  record.write(sha256, 0, 'hex');
  record.writeUInt32BE(size, HASH);
  record.writeUInt32BE(chunks.length, HASH + 4);
  chunks.forEach((chunk, index) => record.write(chunk, HASH + 8 + index * HASH, 'hex'));
  return record;
}

function readPack(data: Buffer, at: number): { pack: IndexedPack; end: number } {
  const count = data.readUInt32BE(at + HASH + 4);
  const from = at + HASH + 8;
  const end = from + count * HASH;
  if (end > data.length) throw new Error('an index is cut off');
  const chunks = Array.from({ length: count }, (_, index) =>
    data.toString('hex', from + index * HASH, from + (index + 1) * HASH),
  );
  return { pack: { sha256: data.toString('hex', at, at + HASH), size: data.readUInt32BE(at + HASH), chunks }, end };
}

function isBelieved(at: number, now: number): boolean {
  return now - at < BELIEVED && at < now + SKEW;
}

function isIndex(name: string): boolean {
  return indexTime(name) !== undefined;
}

/** The name of an index object: sorted by the time of its making. */
export function indexName(bytes: Buffer, now: Date): string {
  return `${timeOfName(now)}-${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`;
}

/** The time in an index's name, ms since the epoch; undefined for what is no index's name. */
export function indexTime(name: string): number | undefined {
  const parts = NAME.exec(name)?.slice(1).map(Number);
  if (!parts) return undefined;
  const [year, month, ...rest] = parts;
  return Date.UTC(year, month - 1, ...rest);
}

function timeOfName(time: Date): string {
  return time.toISOString().replace(/[-:.Z]/g, '');
}

/**
 * Which packs hold which chunks, as this machine knows it: from what it uploaded itself, written down pack by pack, so
 * that an upload that was killed goes on where it stopped; and from the store's index objects, which everyone writes.
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
    return pack && isBelieved(pack.at, Date.now()) ? pack : undefined;
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
    if (Date.now() - this.asked < FRESH) return;
    const now = Date.now();
    const prefix = this.keys.index('');
    for (let tries = 0; tries < TRIES; tries++) {
      const after = this.upTo > LATE ? prefix + timeOfName(new Date(this.upTo - LATE)) : undefined;
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
    await Promise.all(Array.from({ length: READS }, work));
    return found;
  }

  private async readIndex(key: string): Promise<ReadIndex['packs']> {
    let bytes: Buffer | null;
    try {
      bytes = await this.store.get(key, MAX_INDEX);
    } catch (error) {
      return error instanceof StoreTooLarge ? this.ignore(error.what) : 'failed';
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
    this.warn(`${why} It is ignored; what it lists is uploaded again where it is needed. ${next}`);
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
        if (record.pack && !isBelieved(record.at!, now)) {
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
