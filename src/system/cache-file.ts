import { constants } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';

/** A file that is larger, bytes, is none of ours. */
const MAX_CACHE_FILE_BYTES = constants.MAX_STRING_LENGTH;

let failure: string | null = null;

/** Why this process could not write to the cache, the first time that it could not; null afterwards. */
export function takeCacheFailure(): string | null {
  const told = failure;
  failure = null;
  return told;
}

/**
 * What a file of the cache holds; null where it is not there, or is not what we wrote: the cache only saves time.
 * @param parse throws, or returns null, for anything but its shape.
 */
export function readCache<T>(file: string | undefined, parse: (bytes: Buffer) => T | null): T | null {
  try {
    if (file === undefined) return null;
    const stat = statSync(file);
    // Opening a pipe waits for its other end.
    if (!stat.isFile() || stat.size > MAX_CACHE_FILE_BYTES) return null;
    return parse(readFileSync(file));
  } catch {
    return null;
  }
}

/** Removes a file of the cache that has grown so large that nobody reads it: it is begun again. */
export function removeOversized(file: string): void {
  attempt(file, () => {
    const stat = statSync(file, { throwIfNoEntry: false });
    if (stat?.isFile() && stat.size > MAX_CACHE_FILE_BYTES) rmSync(file, { force: true });
  });
}

/** Writes a file of the cache, for its owner only, whole or not at all. Where it can't be written, nothing fails. */
export function writeCache(file: string, data: string | Buffer): void {
  attempt(file, () => writePrivate(file, data));
}

/** Writes a file for its owner only, whole or not at all. @throws Error where it can't be written. */
export function writePrivate(file: string, data: string | Buffer): void {
  const beside = `${file}.${randomBytes(6).toString('hex')}`;
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  try {
    writeFileSync(beside, data, { mode: 0o600, flag: 'wx' });
    renameSync(beside, file);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}

/**
 * Creates a file of the cache, for its owner only, unless it is there: of several processes that do so at once, one file stays.
 * @throws Error where it can't be written.
 */
export function createCacheFile(file: string, data: string): void {
  if (lstatSync(file, { throwIfNoEntry: false })) return;
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const beside = `${file}.${randomBytes(6).toString('hex')}`;
  writeFileSync(beside, data, { mode: 0o600, flag: 'wx' });
  try {
    linkSync(beside, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    rmSync(beside);
  }
}

/** Appends to a file of the cache. Several processes may append at once, and any may be killed in the middle of a line. */
export function appendCache(file: string, data: string): void {
  attempt(file, () => {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    if (statSync(file, { throwIfNoEntry: false })?.isFile() === false) throw new Error(`${file} is not a file`);
    appendFileSync(file, data, { mode: 0o600 });
  });
}

function attempt(file: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    failure ??= `The cache can't be written, so the next commands take longer: ${dirname(file)}: ${(error as Error).message}. NX_EC2_CACHE_DIRECTORY names another directory.`;
  }
}
