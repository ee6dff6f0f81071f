import { createHash, hash } from 'node:crypto';
import { ChunkList, ChunkListWriter, ChunkMap } from './chunk-list';

/** A content of at most so many bytes is one chunk. */
export const WHOLE_BYTES = 1024 * 1024;
const MIN_CHUNK_BYTES = 16 * 1024;
const MAX_CHUNK_BYTES = 256 * 1024;
/** A chunk ends where these bits of the rolling hash are 0: on average 64 KiB after the smallest. */
const MASK = 0xffff0000 | 0;

export type { Chunk } from './chunk-list';

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
  private readonly chunks = new ChunkListWriter();
  /** Which chunk of the old recipe follows one of it. */
  private readonly follows = new ChunkMap();
  /** The chunk of the old recipe that should come next; -1: none is expected. */
  private expected: number;

  constructor(private readonly old: ChunkList = ChunkList.of([])) {
    for (let index = 0; index < old.length; index++) this.follows.set(old.sha256(index), index + 1);
    this.expected = old.length > 1 ? 0 : -1;
  }

  /**
   * Takes what comes next of the content, and first what was left of the piece before.
   * @param last nothing follows `data`.
   * @returns how much of it was taken, bytes: the rest, less than a chunk may have, comes again with what follows it.
   */
  take(data: Buffer, last: boolean): number {
    let at = 0;
    while (at < data.length) {
      const size = this.next(data, at, last);
      if (size < 0) break;
      at += size;
    }
    return at;
  }

  /** The chunks so far. */
  list(): ChunkList {
    return this.chunks.list();
  }

  private next(data: Buffer, at: number, last: boolean): number {
    // The last chunk of a content was cut by the content's end, not by what it holds: it proves nothing elsewhere.
    if (this.expected >= 0 && this.expected < this.old.length - 1) {
      const size = this.old.size(this.expected);
      const isChunk = size <= MAX_CHUNK_BYTES;
      if (isChunk && at + size > data.length && !last) return -1;
      if (isChunk && at + size <= data.length) {
        const sha256 = this.old.sha256(this.expected);
        if (hash('sha256', data.subarray(at, at + size), 'hex') === sha256) {
          this.chunks.push(sha256, size);
          this.expected++;
          return size;
        }
      }
    }
    const size = cut(data, at, last);
    if (size < 0) return -1;
    const sha256 = hash('sha256', data.subarray(at, at + size), 'hex');
    this.chunks.push(sha256, size);
    this.expected = this.follows.get(sha256) ?? -1;
    return size;
  }
}
