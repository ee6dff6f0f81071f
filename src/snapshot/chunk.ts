import { createHash, hash } from 'node:crypto';

/** A content of at most so many bytes is one chunk. */
export const WHOLE_BYTES = 1024 * 1024;
const MIN_CHUNK_BYTES = 16 * 1024;
const MAX_CHUNK_BYTES = 256 * 1024;
/** A chunk ends where these bits of the rolling hash are 0: on average 64 KiB after the smallest. */
const MASK = 0xffff0000 | 0;

/** A piece of a content: its SHA-256 and its size, bytes. Format: docs/reference/formats.md, "Contents, chunks, recipes". */
export type Chunk = readonly [sha256: string, size: number];

const GEAR = Int32Array.from({ length: 256 }, (_, byte) =>
  createHash('sha256').update(Buffer.of(byte)).digest().readInt32BE(0),
);

/**
 * Where the first chunk of `data` ends, bytes from its start.
 * @param last nothing follows `data`: its end is an end.
 * @returns -1 where more data is needed to tell.
 */
export function cut(data: Buffer, start: number, last: boolean): number {
  const left = data.length - start;
  if (left < MAX_CHUNK_BYTES && !last) return -1;
  const end = start + Math.min(left, MAX_CHUNK_BYTES);
  let gear = 0;
  for (let at = start + MIN_CHUNK_BYTES; at < end; at++) {
    gear = ((gear << 1) + GEAR[data[at]]) | 0;
    if ((gear & MASK) === 0) return at + 1 - start;
  }
  return end - start;
}

/**
 * Cuts a content that comes in pieces. Where the recipe of an earlier state is known, its chunks are looked for first,
 * each at the place where the one before it ended: hashing is enough there, and cutting begins at a mismatch and ends
 * where a chunk of the old recipe comes again.
 */
export class Chunker {
  readonly chunks: Chunk[] = [];
  private held: Buffer = Buffer.alloc(0);
  private readonly follows = new Map<string, number>();
  /** The chunk of the old recipe that should come next; -1: none is expected. */
  private expected: number;

  constructor(private readonly old: readonly Chunk[] = []) {
    old.forEach(([sha256], index) => this.follows.set(sha256, index + 1));
    this.expected = old.length > 1 ? 0 : -1;
  }

  write(data: Buffer): void {
    this.take(this.held.length ? Buffer.concat([this.held, data]) : data, false);
  }

  end(): Chunk[] {
    this.take(this.held, true);
    return this.chunks;
  }

  private take(data: Buffer, last: boolean): void {
    let at = 0;
    while (at < data.length) {
      const size = this.next(data, at, last);
      if (size < 0) break;
      at += size;
    }
    // What is held must outlive the caller's buffer.
    this.held = at < data.length ? Buffer.from(data.subarray(at)) : Buffer.alloc(0);
  }

  private next(data: Buffer, at: number, last: boolean): number {
    // The last chunk of a content was cut by the content's end, not by what it holds: it proves nothing elsewhere.
    if (this.expected >= 0 && this.expected < this.old.length - 1) {
      const [sha256, size] = this.old[this.expected];
      if (at + size > data.length && !last) return -1;
      if (at + size <= data.length && hash('sha256', data.subarray(at, at + size), 'hex') === sha256) {
        this.chunks.push([sha256, size]);
        this.expected++;
        return size;
      }
    }
    const size = cut(data, at, last);
    if (size < 0) return -1;
    const sha256 = hash('sha256', data.subarray(at, at + size), 'hex');
    this.chunks.push([sha256, size]);
    this.expected = this.follows.get(sha256) ?? -1;
    return size;
  }
}
