import { deflateSync } from 'node:zlib';
import { formatCount } from '../../report/units';
import { inflate } from '../../system/bounded';
import { createHash } from 'node:crypto';

const HEADER = Buffer.from('NX-EC2 index 1\n');
const HASH_BYTES = 32;
const NAME = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})-[0-9a-f]{16}$/;
/** The most chunks of an index object: as many as the directory of one pack can name. */
export const MAX_CHUNKS = 512 * 1024;
/** The most bytes of an index as it is stored, and inflated. */
export const MAX_INDEX_BYTES = 32 * 1024 * 1024;
const MAX_INFLATED_BYTES = 64 * 1024 * 1024;
/** Hashes do not compress: an index that inflates to more than so many times its size, and some bytes, is none. */
const MAX_RATIO = 4;
const SLACK_BYTES = 64 * 1024;

export interface PackName {
  sha256: string;
  size: number;
}

export interface IndexedPack extends PackName {
  /** SHA-256 of each chunk. */
  chunks: string[];
}

/** Packs and their chunks as an index object has them: docs/reference/formats.md, "Store". */
export function formatIndex(packs: readonly IndexedPack[]): Buffer {
  return formatRecords(packs.map(packRecord));
}

/** The same of what `packRecord` made. */
export function formatRecords(records: readonly Buffer[]): Buffer {
  return deflateSync(Buffer.concat([HEADER, ...records]));
}

export class NewerIndex extends Error {}

/** @throws Error for what is no index, `NewerIndex` for one of another version. */
export function parseIndex(bytes: Buffer): IndexedPack[] {
  const data = inflate(bytes, Math.min(MAX_INFLATED_BYTES, bytes.length * MAX_RATIO + SLACK_BYTES));
  if (!data.subarray(0, HEADER.length).equals(HEADER)) {
    const version = /^NX-EC2 index (\d{1,9})\n/.exec(data.toString('latin1', 0, 32))?.[1];
    if (version) throw new NewerIndex(`an index of version ${version}`);
    throw new Error('not an index');
  }
  const packs: IndexedPack[] = [];
  let chunks = 0;
  for (let at = HEADER.length; at < data.length;) {
    const { pack, end } = readPack(data, at);
    if ((chunks += pack.chunks.length) > MAX_CHUNKS) throw tooManyChunks();
    packs.push(pack);
    at = end;
  }
  return packs;
}

/** The packs of one index object each. @param count how many chunks one has. */
export function splitIndex<T>(packs: readonly T[], count: (pack: T) => number): T[][] {
  const groups: T[][] = [];
  let chunks = 0;
  for (const pack of packs) {
    chunks += count(pack);
    if (!groups.length || chunks > MAX_CHUNKS) {
      groups.push([]);
      chunks = count(pack);
    }
    groups.at(-1)!.push(pack);
  }
  return groups;
}

/** How many chunks a record names. */
export function recordedChunks(record: Buffer): number {
  return record.readUInt32BE(HASH_BYTES + 4);
}

export function packRecord({ sha256, size, chunks }: IndexedPack): Buffer {
  const record = Buffer.alloc(HASH_BYTES + 8 + chunks.length * HASH_BYTES);
  record.write(sha256, 0, 'hex');
  record.writeUInt32BE(size, HASH_BYTES);
  record.writeUInt32BE(chunks.length, HASH_BYTES + 4);
  chunks.forEach((chunk, index) => record.write(chunk, HASH_BYTES + 8 + index * HASH_BYTES, 'hex'));
  return record;
}

export function readPack(data: Buffer, at: number): { pack: IndexedPack; end: number } {
  const count = data.readUInt32BE(at + HASH_BYTES + 4);
  if (count === 0) throw new Error('it names a pack without chunks');
  if (count > MAX_CHUNKS) throw tooManyChunks();
  const from = at + HASH_BYTES + 8;
  const end = from + count * HASH_BYTES;
  if (end > data.length) throw new Error('an index is cut off');
  const chunks = Array.from({ length: count }, (_, index) =>
    data.toString('hex', from + index * HASH_BYTES, from + (index + 1) * HASH_BYTES),
  );
  return {
    pack: { sha256: data.toString('hex', at, at + HASH_BYTES), size: data.readUInt32BE(at + HASH_BYTES), chunks },
    end,
  };
}

function tooManyChunks(): Error {
  return new Error(`it names more than ${formatCount(MAX_CHUNKS, 'chunk')}`);
}

export function isIndex(name: string): boolean {
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

export function timeOfName(time: Date): string {
  return time.toISOString().replace(/[-:.Z]/g, '');
}
