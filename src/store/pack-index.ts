import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { deflateSync, inflateSync } from 'node:zlib';
import type { StoreKeys } from './keys';
import type { Store } from './store';

const HEADER = Buffer.from('NX-EC2 index 1\n');
const HASH = 32;
/** What was read of a pack is believed so long, ms: `prune` waits longer before it removes one. */
const BELIEVED = 7 * 24 * 3_600_000;
/** The store is asked for indexes again after so long, ms. */
const FRESH = 60_000;

export interface PackName {
  sha256: string;
  size: number;
}

export interface IndexedPack extends PackName {
  /** SHA-256 of each chunk. */
  chunks: string[];
}

/** A line of what this machine remembers. */
interface Line {
  /** When a pack was seen, ms since the epoch; `own`: uploaded from here. */
  at?: number;
  own?: boolean;
  pack?: string;
  forget?: string[];
  published?: string[];
  /** When the store was asked for indexes, and the last one that it named. */
  asked?: number;
  last?: string;
}

/** Packs and their chunks as an index object has them: docs/FORMAT.md, "Store". */
export function formatIndex(packs: readonly IndexedPack[]): Buffer {
  return deflateSync(Buffer.concat([HEADER, ...packs.map(packRecord)]));
}

/** Throws an Error for what is no index of this version. */
export function parseIndex(bytes: Buffer): IndexedPack[] {
  const data = inflateSync(bytes);
  if (!data.subarray(0, HEADER.length).equals(HEADER)) throw new Error('not an index of this version');
  const packs: IndexedPack[] = [];
  for (let at = HEADER.length; at < data.length;) {
    const { pack, end } = readPack(data, at);
    packs.push(pack);
    at = end;
  }
  return packs;
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

/** The name of an index object: sorted by the time of its making. */
export function indexName(bytes: Buffer, now: Date): string {
  const time = now.toISOString().replace(/[-:.Z]/g, '');
  return `${time}-${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`;
}

/**
 * Which packs hold which chunks, as this machine knows it: from what it uploaded itself, written down pack by pack, so
 * that an upload that was killed goes on where it stopped; and from the store's index objects, which everyone writes.
 */
export class PackIndex {
  private readonly byChunk = new Map<string, PackName>();
  /** Packs that were uploaded from here and are in no index object yet. */
  private unwritten = new Map<string, IndexedPack>();
  private lastIndex = '';
  private asked = 0;
  private loaded = false;
  private refreshing?: Promise<void>;

  /** @param file where it is remembered, absolute: one for each bucket and prefix; undefined: not at all. */
  constructor(
    private readonly store: Store,
    private readonly keys: StoreKeys,
    private readonly file: string | undefined,
  ) {}

  /** The pack that holds a chunk, as far as is known. */
  find(chunk: string): PackName | undefined {
    this.load();
    return this.byChunk.get(chunk);
  }

  /** Learns what others have uploaded since it was asked last. What can't be read is as if it were not there. */
  refresh(): Promise<void> {
    this.refreshing ??= this.ask().finally(() => (this.refreshing = undefined));
    return this.refreshing;
  }

  private async ask(): Promise<void> {
    this.load();
    if (Date.now() - this.asked < FRESH) return;
    const now = Date.now();
    const prefix = this.keys.index('');
    const names = await this.store.list(prefix, this.lastIndex ? this.keys.index(this.lastIndex) : undefined);
    const objects = await Promise.all(
      names.filter(({ key }) => /\/\d{8}T\d{9}-[0-9a-f]{16}$/.test(key)).map(({ key }) => this.read(key)),
    );
    const lines = objects.flatMap((packs) => packs).map((pack) => this.line(pack, now, false));
    this.asked = now;
    const last = names.at(-1)?.key.slice(prefix.length);
    if (last && /^\d/.test(last)) this.lastIndex = last;
    this.append([...lines, JSON.stringify({ asked: now, last: this.lastIndex })]);
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
    const packs = [...this.unwritten.values()];
    const bytes = formatIndex(packs);
    const name = indexName(bytes, new Date());
    await this.store.put(this.keys.index(name), bytes);
    this.unwritten = new Map();
    this.append([JSON.stringify({ published: packs.map(({ sha256 }) => sha256) })]);
  }

  private async read(key: string): Promise<IndexedPack[]> {
    try {
      const bytes = await this.store.get(key);
      return bytes ? parseIndex(bytes) : [];
    } catch {
      return [];
    }
  }

  private line(pack: IndexedPack, at: number, own: boolean): string {
    this.learn(pack, own);
    return JSON.stringify({ at, own, pack: packRecord(pack).toString('base64') });
  }

  private learn(pack: IndexedPack, own: boolean): void {
    const name = { sha256: pack.sha256, size: pack.size };
    for (const chunk of pack.chunks) this.byChunk.set(chunk, name);
    if (own) this.unwritten.set(pack.sha256, pack);
  }

  private load(): void {
    if (this.loaded) return;
    this.loaded = true;
    let text = '';
    try {
      if (this.file) text = readFileSync(this.file, 'utf8');
    } catch {
      return;
    }
    const now = Date.now();
    const kept: string[] = [];
    let expired = false;
    for (const line of text.split('\n')) {
      try {
        const record = JSON.parse(line) as Line;
        if (record.pack && now - record.at! >= BELIEVED) {
          expired = true;
          continue;
        }
        kept.push(line);
        if (record.pack) this.learn(readPack(Buffer.from(record.pack, 'base64'), 0).pack, record.own ?? false);
        if (record.forget) this.drop(new Set(record.forget));
        for (const each of record.published ?? []) this.unwritten.delete(each);
        if (record.last !== undefined) [this.lastIndex, this.asked] = [record.last, record.asked ?? 0];
      } catch {
        // The last line of a process that was killed.
      }
    }
    if (!expired) return;
    // What is no longer believed is asked for from the beginning.
    [this.lastIndex, this.asked] = ['', 0];
    writeFileSync(this.file!, [...kept, JSON.stringify({ asked: 0, last: '' }), ''].join('\n'));
  }

  private drop(packs: ReadonlySet<string>): void {
    for (const [chunk, { sha256 }] of this.byChunk) if (packs.has(sha256)) this.byChunk.delete(chunk);
    for (const sha256 of packs) this.unwritten.delete(sha256);
  }

  private append(lines: string[]): void {
    if (!this.file || !lines.length) return;
    mkdirSync(dirname(this.file), { recursive: true });
    // A line break first: what a killed process left unfinished must not swallow it.
    appendFileSync(this.file, `\n${lines.join('\n')}\n`);
  }
}
