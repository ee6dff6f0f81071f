import { hash } from 'node:crypto';
import { Problem } from '../../report/problem';
import { inflate } from '../../system/bounded';
import type { StoreKeys } from '../keys';
import { readAgain } from '../objects/read-again';
import { directoryLength, readDirectory, type Segment } from './pack';
import type { Store } from '../store';
import type { PackName } from './index-format';

/** A pack holds at most so many bytes, a segment so many of chunks. */
const MAX_PACK_BYTES = 16 * 1024 * 1024 + 64 * 1024;
const MAX_SEGMENT_BYTES = 1024 * 1024;
/** Of a pack so much is read first, bytes from its end: what it holds is written there. */
const END_BYTES = 64 * 1024;

/** Which chunks of a pack are read. */
export interface ChunkRequest {
  isWanted: (chunk: string) => boolean;
  onChunk: (chunk: string, data: Buffer) => Promise<void>;
  signal?: AbortSignal;
}

/**
 * Reads those chunks of a pack that are wanted, each verified by its name. A pack that holds none of them is not read
 * but for its end. One that is damaged is read again, without the chunks that were handed on: S3 may hold it whole.
 * @returns whether there is such a pack.
 * @throws Problem `PACK_MISMATCH` where it is not a pack, or holds something else under a chunk's name, whenever it is read.
 */
export function readChunks(store: Store, keys: StoreKeys, pack: PackName, request: ChunkRequest): Promise<boolean> {
  const handedOn = new Set<string>();
  const left: ChunkRequest = {
    signal: request.signal,
    isWanted: (chunk) => !handedOn.has(chunk) && request.isWanted(chunk),
    onChunk: async (chunk, data) => {
      handedOn.add(chunk);
      await request.onChunk(chunk, data);
    },
  };
  return readAgain('PACK_MISMATCH', () => readOnce(store, keys, pack, left), request.signal);
}

async function readOnce(
  store: Store,
  keys: StoreKeys,
  pack: PackName,
  { isWanted, onChunk, signal }: ChunkRequest,
): Promise<boolean> {
  const key = keys.pack(pack.sha256);
  let asked = END_BYTES;
  let end = await store.getSuffix(key, asked);
  if (!end) return false;
  const length = guard(key, () => directoryLength(end!));
  if (length > MAX_PACK_BYTES) throw mismatch(key);
  if (length > end.length) end = (await store.getSuffix(key, (asked = length))) ?? end;
  const segments = guard(key, () =>
    readDirectory(end).filter(([, , , chunks]) => chunks.some(([name]) => isWanted(name))),
  );
  if (!segments.length) return true;
  const whole = end.length < asked ? end : await store.get(key, MAX_PACK_BYTES, signal);
  if (!whole) return false;
  for (const segment of segments) {
    const raw = guard(key, () => unpack(whole, segment));
    let at = 0;
    for (const [name, size] of segment[3]) {
      const data = raw.subarray(at, (at += size));
      if (!isWanted(name)) continue;
      if (data.length !== size || hash('sha256', data, 'hex') !== name) throw mismatch(key);
      await onChunk(name, data);
    }
  }
  return true;
}

function unpack(pack: Buffer, [offset, stored, form]: Segment): Buffer {
  const bytes = pack.subarray(offset, offset + stored);
  return form === 'z' ? inflate(bytes, MAX_SEGMENT_BYTES) : bytes;
}

/** The directory of a pack is not trusted: a pack that can't be read is damaged. */
function guard<T>(key: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw mismatch(key, cause);
  }
}

function mismatch(key: string, cause?: unknown): Problem {
  return new Problem('PACK_MISMATCH', `${key} does not match its name.`, {
    next: 'It was damaged, or another program is writing to this prefix. The next sync that needs it replaces it.',
    cause,
  });
}
