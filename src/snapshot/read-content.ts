import { createHash, hash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker, parentPort, workerData } from 'node:worker_threads';
import { Chunker, WHOLE_BYTES } from './chunk';
import { ChunkList } from './chunk-list';
import type { ScannedContents } from './scanned-contents';

/** The content of a file that did not change while it was read. */
export interface Content {
  sha256: string;
  stat: Stats;
  /** Of one larger than a chunk. */
  chunks?: ChunkList;
}

const OURS = 'nx-ec2: read contents';
const BLOCK_BYTES = 4 * 1024 * 1024;
/** What a thread collects before it looks for garbage, MB: it keeps next to nothing. */
const THREAD_MEMORY = { maxYoungGenerationSizeMb: 4 };
/** Less than this, bytes, is read before a thread has started. */
const MIN_THREAD_BYTES = 64 * 1024 * 1024;
let block: Buffer | undefined;

/**
 * @param contents gets the content of a small file.
 * @returns null where the file changed while it was read.
 */
export function readContent(path: string, old?: ChunkList, contents?: ScannedContents): Content | null {
  return reading(path, (file, stat) => {
    if (stat.size <= WHOLE_BYTES) {
      const data = readWhole(file, stat.size);
      const sha256 = hash('sha256', data, 'hex');
      // One that changed is not in the snapshot, and this is what it held.
      if (data.length <= WHOLE_BYTES) contents?.add(sha256, data);
      return { sha256, size: stat.size };
    }
    const whole = createHash('sha256');
    const chunker = new Chunker(old);
    const size = eachBlock(file, (data, from, last) => {
      whole.update(data.subarray(from));
      return chunker.take(data, last);
    });
    return { sha256: whole.digest('hex'), size, chunks: chunker.list() };
  });
}

function reading(
  path: string,
  read: (file: number, stat: Stats) => { sha256: string; size: number; chunks?: ChunkList },
): Content | null {
  // Between the caller's lstat and here a link may have taken the file's place.
  const file = openSync(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0));
  try {
    const before = fstatSync(file);
    const { size, ...content } = read(file, before);
    const after = fstatSync(file);
    const same = size === after.size && before.size === after.size && before.mtimeMs === after.mtimeMs;
    return same ? { ...content, stat: after } : null;
  } finally {
    closeSync(file);
  }
}

function readWhole(file: number, size: number): Buffer {
  block ??= Buffer.allocUnsafe(BLOCK_BYTES);
  let count = 0;
  for (;;) {
    const more = readSync(file, block, count, block.length - count, null);
    count += more;
    // One that grows is seen by its size afterwards.
    if (more === 0 || count > size) return block.subarray(0, count);
  }
}

/**
 * Reads a file block by block, into one buffer: threads that make one for each block hold many until they are collected.
 * @param take is given what it left of the block before, from `from` on what follows it, and whether that is all; it
 * returns how much it has taken.
 * @returns the file's bytes.
 */
function eachBlock(file: number, take: (data: Buffer, from: number, last: boolean) => number): number {
  block ??= Buffer.allocUnsafe(BLOCK_BYTES);
  let size = 0;
  let left = 0;
  for (;;) {
    const count = readSync(file, block, left, block.length - left, null);
    const data = block.subarray(0, left + count);
    const taken = take(data, left, count === 0);
    if (count === 0) return size;
    size += count;
    left = data.length - taken;
    block.copyWithin(0, taken, data.length);
  }
}

/** One half of what is wanted of a large file: its hash, or its chunks. */
interface Job {
  path: string;
  chunks: boolean;
  /** The bytes of a chunk list: a thread is sent data, not objects with methods. */
  old?: Uint8Array;
}

interface Half {
  content: (Omit<Content, 'chunks'> & { chunks?: Uint8Array }) | null | Error;
  code?: string;
}

function half({ path, chunks, old }: Job): Content | null {
  return reading(path, (file) => {
    if (chunks) {
      const chunker = new Chunker(old && fromThread(old));
      const size = eachBlock(file, (data, _from, last) => chunker.take(data, last));
      return { sha256: '', size, chunks: chunker.list() };
    }
    const whole = createHash('sha256');
    const size = eachBlock(file, (data) => {
      whole.update(data);
      return data.length;
    });
    return { sha256: whole.digest('hex'), size };
  });
}

function fromThread(bytes: Uint8Array): ChunkList {
  return new ChunkList(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}

/**
 * Reads large files on all cores: the hash and the chunks of each by two threads.
 * @returns for each file its content, null if it changed while it was read, or the error of reading it.
 */
export async function readContents(
  files: { path: string; size: number; old?: ChunkList }[],
): Promise<(Content | null | Error)[]> {
  const total = files.reduce((sum, { size }) => sum + size, 0);
  // Compiled only: a thread can't load TypeScript.
  if (total < MIN_THREAD_BYTES || !__filename.endsWith('.js'))
    return files.map(({ path, old }) => attempt(() => readContent(path, old)));
  const jobs: Job[] = files.flatMap(({ path, old }) => [
    { path, chunks: false },
    { path, chunks: true, old: old?.bytes },
  ]);
  const done: Half['content'][] = new Array(jobs.length).fill(null);
  let next = 0;
  await Promise.all(
    Array.from({ length: Math.min(availableParallelism(), jobs.length, 4) }, async () => {
      const worker = new Worker(__filename, { workerData: OURS, resourceLimits: THREAD_MEMORY });
      try {
        while (next < jobs.length) {
          const job = next++;
          worker.postMessage(jobs[job]);
          const { content, code } = await new Promise<Half>((resolve, reject) => {
            worker.once('message', resolve);
            worker.once('error', reject);
          });
          done[job] = content instanceof Error ? Object.assign(content, { code }) : content;
        }
      } finally {
        await worker.terminate();
      }
    }),
  );
  return files.map((_, index) => {
    const [whole, cut] = [done[index * 2], done[index * 2 + 1]];
    if (whole instanceof Error) return whole;
    if (cut instanceof Error) return cut;
    if (!whole || !cut || whole.stat.mtimeMs !== cut.stat.mtimeMs || whole.stat.size !== cut.stat.size) return null;
    return { sha256: whole.sha256, stat: whole.stat, chunks: cut.chunks && fromThread(cut.chunks) };
  });
}

function attempt<T>(work: () => T): T | Error {
  try {
    return work();
  } catch (error) {
    return error as Error;
  }
}

if (workerData === OURS && parentPort) {
  const port = parentPort;
  // An error's code is lost between threads.
  port.on('message', (job: Job) => {
    const result = attempt(() => half(job));
    if (result instanceof Error) port.postMessage({ content: result, code: (result as NodeJS.ErrnoException).code });
    else port.postMessage({ content: result && { ...result, chunks: result.chunks?.bytes } });
  });
}
