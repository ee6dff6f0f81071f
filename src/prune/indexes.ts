import { storeNames } from '../store/keys';
import { directoryLength, readDirectory } from '../store/packs/pack';
import { MAX_INDEXES } from '../store/packs/pack-index';
import type { Store } from '../store/store';
import { newer, readOrReason } from './reader';
import { UnusableObject } from '../store/objects/unusable';
import {
  formatIndex,
  indexName,
  indexTime,
  MAX_INDEX_BYTES,
  MAX_CHUNKS,
  NewerIndex,
  parseIndex,
  type IndexedPack,
} from '../store/packs/index-format';

/** An index with this many chunks is not merged with others. */
const FULL = MAX_CHUNKS / 2;
/** Of a pack whose directory is read, so much is, bytes: more is asked for where it does not do. */
const PACK_END_BYTES = 64 * 1024;
const CONCURRENT_READS = 4;

/** An index object, and what it names. */
interface Index {
  name: string;
  /** Packs that no index before it names, if it names no others; null for an index that is to be replaced. */
  packs: string[] | null;
  chunks: number;
}

/** The index objects of a store as they were at one moment, and how they become fewer. */
export class Indexes {
  private constructor(
    private readonly store: Store,
    private readonly base: string,
    private readonly all: readonly Index[],
    /** The packs that are named and exist. */
    readonly packs: ReadonlySet<string>,
    /** Names, below the store's base, of those that can't be read: they are removed. */
    readonly damaged: readonly string[],
  ) {}

  /** The names of the index objects. */
  static async list(store: Store, base: string): Promise<string[]> {
    const at = base + storeNames.index('');
    const listed = (await store.list(at, MAX_INDEXES)).map(({ key }) => key.slice(at.length));
    return listed.filter((name) => indexTime(name) !== undefined).sort();
  }

  /**
   * Reads index objects. Of what they name, only what exists is remembered: anybody can write an index that names
   * packs of his own invention.
   * @param names sorted.
   * @param exists whether the store has a pack.
   * @param onRead told how many of how many were read.
   * @throws Problem for one of a later version. One that is damaged names nothing and is removed.
   */
  static async read(
    { store, base }: { store: Store; base: string },
    names: readonly string[],
    exists: (sha256: string) => boolean,
    onRead: (done: number, total: number) => void,
  ): Promise<Indexes> {
    const all: Index[] = [];
    const damaged: string[] = [];
    const named = new Set<string>();
    const take = (name: string, read: IndexedPack[] | 'damaged' | null) => {
      // Gone: another prune has put it into another one.
      if (read === null) return;
      if (read === 'damaged') damaged.push(storeNames.index(name));
      const packs = read === 'damaged' ? [] : read;
      const found = new Set(packs.map(({ sha256 }) => sha256).filter(exists));
      const isClean = packs.length > 0 && found.size === packs.length && ![...found].some((pack) => named.has(pack));
      for (const pack of found) named.add(pack);
      const chunks = packs.reduce((sum, pack) => sum + pack.chunks.length, 0);
      all.push({ name, packs: isClean ? [...found] : null, chunks });
    };
    for (let from = 0; from < names.length; from += CONCURRENT_READS) {
      const some = names.slice(from, from + CONCURRENT_READS);
      const read = await Promise.all(some.map((name) => readIndex(store, base, name)));
      some.forEach((name, at) => take(name, read[at]));
      onRead(from + some.length, names.length);
    }
    return new Indexes(store, base, all, named, damaged);
  }

  /**
   * Makes as few index objects as hold it all, without the packs that are not to be named and with some that are to be.
   * The new ones are there before those that they stand for are removed: whoever lists them meanwhile finds both, and
   * whoever reads one that is gone lists them again.
   * @param keep whether a pack stays.
   * @param add packs that no index names; their directories are read.
   * @param onDone told how many of how many objects and packs were taken.
   * @returns how many objects were replaced by how many.
   */
  async compact(
    keep: (sha256: string) => boolean,
    add: readonly string[],
    onDone: (done: number, total: number) => void,
  ): Promise<{ from: number; to: number }> {
    const replaced = this.replaceable(keep);
    if (!replaced.length && !add.length) return { from: 0, to: 0 };
    const kept = new Set(this.all.filter((index) => !replaced.includes(index)).flatMap(({ packs }) => packs ?? []));
    const writer = new IndexWriter(this.store, this.base);
    const take = async (pack: IndexedPack) => {
      if (kept.has(pack.sha256) || !keep(pack.sha256)) return;
      kept.add(pack.sha256);
      await writer.add(pack);
    };
    const done: string[] = [];
    let taken = 0;
    const next = () => onDone(++taken, replaced.length + add.length);
    for (const { name } of replaced) {
      const packs = await readIndex(this.store, this.base, name);
      if (Array.isArray(packs)) for (const pack of packs) await take(pack);
      done.push(this.base + storeNames.index(name));
      next();
    }
    for (const sha256 of add) {
      const pack = await this.readPack(sha256);
      if (pack) await take(pack);
      next();
    }
    await writer.end();
    // What a killed prune had written may have the very name of what stands for it now.
    await this.store.delete(done.filter((key) => !writer.written.has(key)));
    return { from: done.length, to: writer.written.size };
  }

  /** Those that name what is not to be named or what another one does, and small ones where there are several. */
  private replaceable(keep: (sha256: string) => boolean): Index[] {
    const clean = this.all.filter(({ packs }) => packs?.every(keep));
    const small = clean.filter(({ chunks }) => chunks < FULL);
    const alone = small.length === 1 && clean.length === this.all.length;
    const stays = new Set(alone ? clean : clean.filter((index) => !small.includes(index)));
    return this.all.filter((index) => !stays.has(index));
  }

  private async readPack(sha256: string): Promise<IndexedPack | null> {
    const key = this.base + storeNames.pack(sha256);
    let end = await this.store.getSuffix(key, PACK_END_BYTES).catch((error: unknown) => {
      if (error instanceof UnusableObject) return null;
      throw error;
    });
    if (!end) return null;
    try {
      const length = directoryLength(end);
      if (length > end.length) end = (await this.store.getSuffix(key, length))!;
      const segments = readDirectory(end);
      const [offset, stored] = segments.at(-1) ?? [0, 0];
      const chunks = segments.flatMap(([, , , chunks]) => chunks.map(([chunk]) => chunk));
      // No client would read an index with such a pack.
      if (!chunks.length || chunks.length > MAX_CHUNKS) return null;
      return { sha256, size: offset + stored + length, chunks };
    } catch {
      // Not the pack that its name says: whoever needs it will find that out, and replace it.
      return null;
    }
  }
}

class IndexWriter {
  private packs: IndexedPack[] = [];
  private chunks = 0;
  /** Keys. */
  readonly written = new Set<string>();

  constructor(
    private readonly store: Store,
    private readonly base: string,
  ) {}

  async add(pack: IndexedPack): Promise<void> {
    if (this.chunks + pack.chunks.length > MAX_CHUNKS) await this.end();
    this.packs.push(pack);
    this.chunks += pack.chunks.length;
  }

  async end(): Promise<void> {
    if (!this.packs.length) return;
    const bytes = formatIndex(this.packs);
    const key = this.base + storeNames.index(indexName(bytes, await this.store.now()));
    await this.store.put(key, bytes);
    this.written.add(key);
    [this.packs, this.chunks] = [[], 0];
  }
}

async function readIndex(store: Store, base: string, name: string): Promise<IndexedPack[] | 'damaged' | null> {
  const stored = await readOrReason(store, base + storeNames.index(name), MAX_INDEX_BYTES);
  if (stored === null) return null;
  if (stored instanceof UnusableObject) return 'damaged';
  try {
    return parseIndex(stored.bytes);
  } catch (error) {
    if (error instanceof NewerIndex) throw newer(storeNames.index(name), error);
    return 'damaged';
  }
}
