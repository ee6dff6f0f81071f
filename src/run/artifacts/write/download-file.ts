import { createHash, hash } from 'node:crypto';
import { constants, copyFileSync, readdirSync, renameSync, rmSync, type Stats } from 'node:fs';
import { lutimes, open, rename, unlink, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readAgain } from '../../../store/objects/read-again';
import { Problem } from '../../../report/problem';
import { sanitizeForTerminal } from '../../../report/terminal-text';
import type { Store } from '../../../store/store';
import { PART_BYTES, type StoredFile } from '../../record/file-lists';
import { onFile } from '../../../report/file-problem';
import { flush } from '../../../system/flush';
import { Semaphore } from '../../../system/semaphore';
import { lookUp } from '../../../workspace/look-up';
import { hasEnded, processMark } from '../../../workspace/scratch';
import { makeDirectory } from '../../../workspace/make-directory';

/** What a file is called until all of it is there ends so. */
export const UNFINISHED = '.nx-ec2-part';

/**
 * Where a file is until all of it is there; what it has is made use of by the next fetch. A long name leaves no room
 * for an ending.
 */
export function unfinished(path: string): string {
  const name = basename(path);
  const beside = Buffer.byteLength(name) < 200 ? name : hash('sha256', name, 'hex').slice(0, 32);
  return path.slice(0, path.length - name.length) + beside + UNFINISHED;
}

/** `<name>.<mark of a process>.nx-ec2-part`: what that process writes to. */
const TAKEN = /^(.+)\.([0-9a-f]{8}-[1-9]\d{0,9}-[0-9a-f]{8})\.nx-ec2-part$/;

/** What is written to is marked as such this often, ms: another machine or container goes by it. */
const TOUCH_MS = 10 * 60_000;

/**
 * Makes what is unfinished this process's own: of two that fetch to one place, each writes to a file of its own, and what
 * has its final name is written to by none.
 * @returns its path; there need not be anything.
 */
function take(beside: string): string {
  const own = ownName(beside);
  moveIfThere(beside, own);
  return own;
}

function ownName(beside: string): string {
  return `${beside.slice(0, -UNFINISHED.length)}.${processMark()}${UNFINISHED}`;
}

/** Gives what processes that were killed have left in a directory the name by which the next fetch finds it. */
export function recoverUnfinished(directory: string): void {
  if (!lookUp(directory)?.isDirectory()) return;
  for (const each of readdirSync(directory)) {
    const [, name, mark] = TAKEN.exec(each) ?? [];
    if (name === undefined) continue;
    const [found, beside] = [join(directory, each), join(directory, name + UNFINISHED)];
    const ended = hasEnded(mark, found);
    if (ended === 'likely') moveIfThere(copied(found, ownName(beside)), beside);
    else if (ended) moveIfThere(found, beside);
  }
}

/** Of a process that may only have slept, a copy: what it still writes goes to a file without a name. */
function copied(from: string, to: string): string {
  try {
    copyFileSync(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    rmSync(from);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return to;
}

function moveIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** Parts that are on their way, or in memory, at once, of all files that are fetched at one time. */
export const CONCURRENT_PARTS = 6;

export interface FetchOptions {
  signal?: AbortSignal;
  /** Told of bytes that are there, piece by piece: fetched, or found. */
  onBytes?: (bytes: number, fetched: boolean) => void;
  /** Shared by the files that are fetched at one time. */
  semaphore?: Semaphore;
  /** Called before anything is written, and once more before the whole file is put in its place: may it still be? */
  check?: () => Promise<void>;
}

/** A file of a run in the store. */
export interface FileSource {
  store: Store;
  /** Of the run's keys, ends in a slash. */
  prefix: string;
  entry: StoredFile;
}

/**
 * Fetches a file from its parts, each verified before it is written, into `unfinished(target)`; renamed when it is
 * whole and its own hash is right. What an earlier fetch has left there, and is right, is not fetched again.
 * @throws Problem `PART_MISSING`, `PART_MISMATCH`, `FILE_MISMATCH`, or of the store; what was fetched stays.
 */
export async function fetchFile(source: FileSource, target: string, options: FetchOptions = {}): Promise<void> {
  await onFile(target, () => fetchInto(source, target, options));
}

/** Opens a file to write to that has no other name: what another name leads to is not ours. */
async function openAlone(path: string): Promise<FileHandle> {
  const flags = constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0);
  const file = await open(path, flags, 0o644);
  const stat = await file.stat();
  if (!stat.isFile() || stat.nlink === 1) return file;
  await file.close();
  await unlink(path);
  return open(path, flags | constants.O_EXCL, 0o644);
}

async function fetchInto(source: FileSource, target: string, options: FetchOptions): Promise<void> {
  const { entry } = source;
  const { check } = options;
  await check?.();
  makeDirectory(dirname(target));
  const own = take(unfinished(target));
  try {
    const file = await openAlone(own);
    const timer = setInterval(() => void lutimes(own, new Date(), new Date()).catch(() => undefined), TOUCH_MS).unref();
    let written: Stats;
    try {
      if (!(await file.stat()).isFile())
        throw new Problem('FILE_BLOCKED', `${own} is not a file, and is in the place of a download.`);
      await fetchParts(source, file, options);
      await file.truncate(entry.size);
      // Of one part it is known.
      const whole = entry.parts.length === 1 ? entry.parts[0] : await hashOpened(file, entry.size);
      if (whole !== entry.sha256) {
        await unlink(own);
        throw new Problem(
          'FILE_MISMATCH',
          `The parts of ${sanitizeForTerminal(entry.path)} do not match the listed file.`,
          {
            next: 'Another program is writing to this prefix.',
          },
        );
      }
      await file.chmod(entry.executable ? 0o755 : 0o644);
      await flush(file);
      written = await file.stat();
    } finally {
      clearInterval(timer);
      await file.close();
    }
    await check?.();
    // Another file is none that was verified.
    if (lookUp(own)?.ino !== written.ino)
      throw new Problem('FILE_ERROR', `${own} was moved or replaced while ${target} was downloaded into it.`, {
        next: 'Run the same command again, while no other program changes that directory.',
      });
    await rename(own, target);
  } catch (error) {
    try {
      moveIfThere(own, unfinished(target));
    } catch {
      // It is found by its name when this process has ended.
    }
    throw error;
  }
}

/**
 * Does the same with each of several files, so many at once. The first failure stops the others, and is thrown when none
 * of them writes any more.
 */
export async function forEachFile<T>(
  files: readonly T[],
  count: number,
  signal: AbortSignal | undefined,
  act: (file: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const queue = [...files];
  const failed = new AbortController();
  const any = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const work = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      any.throwIfAborted();
      await act(next, any);
    }
  };
  const all = await Promise.allSettled(
    Array.from({ length: count }, () =>
      work().catch((error: unknown) => {
        failed.abort(error);
        throw error;
      }),
    ),
  );
  if (all.some(({ status }) => status === 'rejected')) throw failed.signal.reason;
}

async function fetchParts(
  source: FileSource,
  file: FileHandle,
  { signal, onBytes, semaphore = new Semaphore(CONCURRENT_PARTS) }: FetchOptions,
): Promise<void> {
  const { entry } = source;
  const { size: there } = await file.stat();
  let next = 0;
  const failed = new AbortController();
  const any = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const work = async () => {
    for (let at = next++; at < entry.parts.length; at = next++) {
      const offset = at * PART_BYTES;
      const size = Math.min(PART_BYTES, entry.size - offset);
      await semaphore.with(async () => {
        any.throwIfAborted();
        const found = offset + size <= there && (await holds(file, offset, size, entry.parts[at]));
        if (!found) {
          const bytes = await fetchPart(source, at, size, any);
          for (let done = 0; done < size;)
            done += (await file.write(bytes, done, size - done, offset + done)).bytesWritten;
        }
        onBytes?.(size, !found);
      });
    }
  };
  const all = await Promise.allSettled(
    Array.from({ length: Math.min(CONCURRENT_PARTS, entry.parts.length) }, () =>
      work().catch((error: unknown) => {
        failed.abort(error);
        throw error;
      }),
    ),
  );
  // The first reason, not that the others were told to stop.
  if (all.some(({ status }) => status === 'rejected')) throw failed.signal.reason;
}

async function holds(file: FileHandle, offset: number, size: number, sha256: string): Promise<boolean> {
  const bytes = Buffer.allocUnsafe(size);
  for (let done = 0; done < size;) {
    const { bytesRead } = await file.read(bytes, done, size - done, offset + done);
    if (bytesRead === 0) return false;
    done += bytesRead;
  }
  return hash('sha256', bytes, 'hex') === sha256;
}

/** A file's content, part by part, each verified. @throws Problem `PART_MISSING`, `PART_MISMATCH`, or of the store. */
export async function* readParts(source: FileSource, signal: AbortSignal): AsyncGenerator<Buffer> {
  const { size, parts } = source.entry;
  const fetch = (at: number) => {
    const part = fetchPart(source, at, Math.min(PART_BYTES, size - at * PART_BYTES), signal);
    // Until it is waited for.
    part.catch(() => undefined);
    return part;
  };
  // The next one is on its way while one is written.
  let next = parts.length ? fetch(0) : null;
  for (let at = 0; next; at++) {
    const bytes: Buffer = await next;
    next = at + 1 < parts.length ? fetch(at + 1) : null;
    yield bytes;
  }
}

async function fetchPart(
  { store, prefix, entry }: FileSource,
  at: number,
  size: number,
  signal: AbortSignal,
): Promise<Buffer> {
  const sha256 = entry.parts[at];
  const key = `${entry.prefix ?? prefix}part/${sha256}`;
  const which = `part ${at + 1} of ${entry.parts.length} of ${sanitizeForTerminal(entry.path)} (${key})`;
  const read = async () => {
    const stored = await store.getWithETag(key, PART_BYTES, { signal });
    if (stored === null) {
      throw new Problem('PART_MISSING', `The store has no ${which}.`, { next: 'It was removed.' });
    }
    if (stored.bytes.length === size && hash('sha256', stored.bytes, 'hex') === sha256) return stored.bytes;
    throw new Problem('PART_MISMATCH', `The content of ${which} in the store does not match its name.`, {
      next: 'Another program is writing to this prefix, or the object was damaged.',
    });
  };
  return readAgain('PART_MISMATCH', read, signal);
}

/** The SHA-256 of a file's first `size` bytes. */
export async function hashOpened(file: FileHandle, size: number): Promise<string> {
  const whole = createHash('sha256');
  const block = Buffer.allocUnsafe(Math.min(PART_BYTES, size));
  for (let at = 0; at < size;) {
    const { bytesRead } = await file.read(block, 0, Math.min(block.length, size - at), at);
    if (bytesRead === 0) break;
    whole.update(block.subarray(0, bytesRead));
    at += bytesRead;
  }
  return whole.digest('hex');
}
