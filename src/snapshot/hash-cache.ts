import type { Stats } from 'node:fs';
import { hash } from 'node:crypto';
import { readCache, writeCache } from '../system/cache-file';
import type { Entry } from './entry';

/** What of `lstat` tells whether a file has changed. The rest takes several times the memory. */
export type FileStat = Pick<Stats, 'size' | 'mtimeMs' | 'ctimeMs' | 'ino' | 'mode'>;

/** The fields of `lstat`'s result that are kept for each file. */
export function fileStat({ size, mtimeMs, ctimeMs, ino, mode }: Stats): FileStat {
  return { size, mtimeMs, ctimeMs, ino, mode };
}

/** What an entry was at the last scan: its place in the columns. */
type Row = number;

const VERSION = 2;
const KINDS = ['-', 'x', 'link', 'directory'] as const;
/** A file that changed so shortly before it was read, ms, may change again within the clock's granularity, as git has it. */
const RACY_MS = 2_000;
const STAT_FIELDS = 4;

/**
 * What `lstat` and SHA-256 said of each path at the last scan, in columns, sorted by path: a file whose size, times
 * and inode are the same is not read again. A hint alone: what is read from a damaged file is nothing.
 */
export class HashCache {
  private constructor(
    private readonly paths: readonly string[],
    private readonly stats: Float64Array,
    private readonly kinds: Uint8Array,
    private readonly hashes: Buffer,
    /** The id of the snapshot that these entries make. */
    readonly snapshot: string | null,
  ) {}

  static load(file: string | undefined): HashCache {
    const parse = (data: Buffer) => {
      const end = data.indexOf('\n');
      const { v, count, size, snapshot } = JSON.parse(data.toString('utf8', 0, end)) as Record<string, unknown>;
      if (v !== VERSION || typeof count !== 'number' || count < 0 || size !== data.length - end - 1) return null;
      let at = end + 1;
      const take = (bytes: number) => data.subarray(at, (at += bytes));
      const stats = new Float64Array(new Uint8Array(take(count * STAT_FIELDS * 8)).buffer);
      const kinds = new Uint8Array(take(count));
      const hashes = take(count * 32);
      const paths = count ? data.toString('utf8', at).split('\0') : [];
      if (paths.length !== count || hashes.length !== count * 32) return null;
      return new HashCache(paths, stats, kinds, hashes, String(snapshot));
    };
    return readCache(file, parse) ?? EMPTY;
  }

  /** Looks paths up; asked for them in ascending order, it looks at each row once. */
  cursor(): (path: string) => Row | null {
    let row = 0;
    return (path) => {
      while (row < this.paths.length && this.paths[row] < path) row++;
      return this.paths[row] === path ? row : null;
    };
  }

  /** Whether a file is what it was when it was hashed, as far as `lstat` can tell. */
  holds(row: Row, stat: FileStat): boolean {
    const at = row * STAT_FIELDS;
    return (
      this.stats[at] === stat.size &&
      this.stats[at + 1] === stat.mtimeMs &&
      this.stats[at + 2] === stat.ctimeMs &&
      this.stats[at + 3] === stat.ino
    );
  }

  sha256(row: Row): string {
    return this.hashes.toString('hex', row * 32, row * 32 + 32);
  }

  /** Whether these entries, in order, are those of the last scan. */
  isAll(entries: readonly Entry[], rows: readonly (Row | null)[]): boolean {
    return (
      entries.length === this.paths.length &&
      entries.every((entry, index) => {
        const row = rows[index];
        return row !== null && KINDS[this.kinds[row]] === kind(entry) && this.sha256(row) === fingerprint(entry);
      })
    );
  }

  /**
   * @param entries sorted by path as JavaScript compares texts; `stats` belong to them, null for what is no file.
   * @param now when the scan began, ms since the epoch.
   */
  static save(
    file: string,
    entries: readonly Entry[],
    stats: readonly (FileStat | null)[],
    snapshot: string,
    now: number,
  ): void {
    const count = entries.length;
    const columns = new Float64Array(count * STAT_FIELDS);
    const kinds = new Uint8Array(count);
    const hashes = Buffer.alloc(count * 32);
    entries.forEach((entry, index) => {
      const stat = stats[index];
      kinds[index] = KINDS.indexOf(kind(entry));
      hashes.write(fingerprint(entry), index * 32, 'hex');
      const racy = !stat || Math.max(stat.mtimeMs, stat.ctimeMs) > now - RACY_MS;
      columns.set(racy ? [-1, 0, 0, 0] : [stat.size, stat.mtimeMs, stat.ctimeMs, stat.ino], index * STAT_FIELDS);
    });
    const paths = Buffer.from(entries.map(({ path }) => path).join('\0'));
    const body = Buffer.concat([Buffer.from(columns.buffer), kinds, hashes, paths]);
    const header = `${JSON.stringify({ v: VERSION, count, size: body.length, snapshot })}\n`;
    writeCache(file, Buffer.concat([Buffer.from(header), body]));
  }
}

const EMPTY = new (HashCache as unknown as new (...columns: unknown[]) => HashCache)(
  [],
  new Float64Array(0),
  new Uint8Array(0),
  Buffer.alloc(0),
  null,
);

function kind(entry: Entry): (typeof KINDS)[number] {
  return entry.kind === 'file' ? (entry.executable ? 'x' : '-') : entry.kind;
}

/** 64 hex digits that tell an entry from another of its kind and path. */
function fingerprint(entry: Entry): string {
  if (entry.kind === 'file') return entry.sha256;
  return entry.kind === 'link' ? hash('sha256', entry.target, 'hex') : '0'.repeat(64);
}
