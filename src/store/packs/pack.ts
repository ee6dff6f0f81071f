import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, deflate, deflateSync } from 'node:zlib';
import type { Chunk } from '../../snapshot/chunk';
import { inflate, parseJson } from '../../system/bounded';

const compress = promisify(deflate);

/** A pack that is ready to be stored: docs/reference/formats.md, "Store". */
export class Pack {
  readonly sha256: string;
  readonly size: number;

  /**
   * @param parts its bytes: joined, they would be there twice.
   * @param free what is used again when it is sent.
   */
  constructor(
    readonly parts: readonly Buffer[],
    readonly chunks: Chunk[],
    private readonly free?: () => void,
  ) {
    const hash = createHash('sha256');
    for (const part of parts) hash.update(part);
    this.sha256 = hash.digest('hex');
    this.size = parts.reduce((sum, { length }) => sum + length, 0);
  }

  get bytes(): Buffer {
    return Buffer.concat(this.parts);
  }

  /** Nobody needs its bytes any more. */
  release(): void {
    this.free?.();
  }
}

/** Where the chunks of one segment are, as a pack's directory has it. */
export type Segment = [offset: number, stored: number, form: 'z' | 'r', chunks: Chunk[]];

const MAGIC = 'NXP1';
/** A directory inflates to no more bytes than this. */
const MAX_DIRECTORY_BYTES = 32 * 1024 * 1024;
/** Chunks of so many bytes in all are compressed together. */
const SEGMENT_BYTES = 512 * 1024;
/** Of so many bytes of a segment it is measured whether compressing is worth while. */
const SAMPLE_BYTES = 32 * 1024;
/** What stays above this share of its size is stored as it is. */
const MAX_COMPRESSED_RATIO = 0.95;

/** Collects chunks into segments, compresses each on a thread of its own, and makes packs of about the size asked for. */
export class PackWriter {
  /** What the open segment is written to. */
  private segment?: Buffer;
  private chunks: Chunk[] = [];
  private raw = 0;
  private segments: Promise<{ stored: Buffer; form: 'z' | 'r'; chunks: Chunk[]; block?: Buffer }>[] = [];
  /** Segments' buffers that are not in use. */
  private readonly blocks: Buffer[] = [];
  private closed = false;
  private rawInPack = 0;

  /** @param level of zlib, 0 (none) to 9; it may change from segment to segment. */
  constructor(private readonly level: () => number) {}

  /** Bytes, before compression, that wait to be in a pack. */
  get waiting(): number {
    return this.rawInPack + this.raw;
  }

  /** @param data is copied. */
  add(chunk: Chunk, data: Buffer): void {
    if (this.chunks.length && this.raw + data.length > SEGMENT_BYTES) this.closeSegment();
    const isLarge = data.length > SEGMENT_BYTES;
    this.segment ??= isLarge
      ? Buffer.allocUnsafe(data.length)
      : (this.blocks.pop() ?? Buffer.allocUnsafe(SEGMENT_BYTES));
    data.copy(this.segment, this.raw);
    this.chunks.push(chunk);
    this.raw += data.length;
  }

  /** Everything that waits, as one pack; null where nothing does. */
  async finish(): Promise<Pack | null> {
    if (this.chunks.length) this.closeSegment();
    if (!this.segments.length) return null;
    // What is added from here on is the next pack's.
    const closed = this.segments;
    this.segments = [];
    this.rawInPack = 0;
    const segments = await Promise.all(closed);
    let offset = 0;
    const directory = segments.map(({ stored, form, chunks }): Segment => {
      offset += stored.length;
      return [offset - stored.length, stored.length, form, chunks];
    });
    return assemble(
      segments.map(({ stored }) => stored),
      JSON.stringify({ v: 1, segments: directory }),
      segments.flatMap(({ chunks }) => chunks),
      () => segments.forEach(({ block }) => this.giveBack(block)),
    );
  }

  /** Nothing more is added: no buffer is kept. */
  close(): void {
    this.closed = true;
    this.blocks.length = 0;
  }

  private giveBack(block: Buffer | undefined): void {
    if (block?.length === SEGMENT_BYTES && !this.closed) this.blocks.push(block);
  }

  private closeSegment(): void {
    const block = this.segment!;
    const chunks = this.chunks;
    this.segments.push(
      this.store(block.subarray(0, this.raw)).then(([stored, form]) => {
        if (form === 'r') return { stored, form, chunks, block };
        this.giveBack(block);
        return { stored, form, chunks };
      }),
    );
    // An error surfaces where the segments are waited for.
    this.segments[this.segments.length - 1].catch(() => undefined);
    this.rawInPack += this.raw;
    this.segment = undefined;
    this.chunks = [];
    this.raw = 0;
  }

  private async store(raw: Buffer): Promise<[Buffer, 'z' | 'r']> {
    const level = this.level();
    if (level === 0 || !(await isWorthIt(raw))) return [raw, 'r'];
    const stored = await compress(raw, { level });
    return stored.length < raw.length * MAX_COMPRESSED_RATIO ? [stored, 'z'] : [raw, 'r'];
  }
}

async function isWorthIt(raw: Buffer): Promise<boolean> {
  const from = Math.max(0, (raw.length - SAMPLE_BYTES) >> 1);
  const sample = raw.subarray(from, from + SAMPLE_BYTES);
  const { length } = await compress(sample, { level: constants.Z_BEST_SPEED });
  return length < sample.length * MAX_COMPRESSED_RATIO;
}

function assemble(segments: Buffer[], directory: string, chunks: Chunk[], free?: () => void): Pack {
  const packed = deflateSync(directory);
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(packed.length);
  tail.write(MAGIC, 4, 'latin1');
  return new Pack([...segments, packed, tail], chunks, free);
}

/** A pack of the same chunks under another name: its directory has one more space at its end. */
export function renamed(pack: Pack): Pack {
  const { bytes, chunks } = pack;
  const directory = directoryJson(bytes).toString();
  const segments = bytes.subarray(0, bytes.length - directoryLength(bytes));
  return assemble([segments], `${directory} `, chunks, () => pack.release());
}

/** How many bytes at a pack's end are its directory, with what says so. Throws an Error for what is no pack. */
export function directoryLength(end: Buffer): number {
  if (end.length < 8 || end.toString('latin1', end.length - 4) !== MAGIC) throw new Error('not a pack');
  return end.readUInt32BE(end.length - 8) + 8;
}

/**
 * The directory of a pack.
 * @param end the pack, or as much of its end as `directoryLength` says.
 * @throws Error for what is no pack of this version.
 */
export function readDirectory(end: Buffer): Segment[] {
  const { v, segments } = parseJson(directoryJson(end)) as { v: number; segments: Segment[] };
  if (v !== 1) throw new Error(`a pack of version ${v}`);
  return segments;
}

function directoryJson(end: Buffer): Buffer {
  const length = directoryLength(end);
  if (length > end.length) throw new Error('not a pack');
  return inflate(end.subarray(end.length - length, end.length - 8), MAX_DIRECTORY_BYTES);
}
