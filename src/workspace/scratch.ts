import { hash, randomBytes } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { makeDirectory } from './make-directory';

/** What a process of another machine or container has not written to for so long, ms, is taken for abandoned. */
const ABANDONED_AFTER_MS = 60 * 60_000;

/** `<name>.nx-ec2-<namespace>-<process id>-<random>` */
const SCRATCH = /\.nx-ec2-([0-9a-f]{8}-[1-9]\d{0,9}-[0-9a-f]{8})$/;

/**
 * Makes a directory for files that are not in their place yet, on the same file system as that place. Git, Nx and syncs
 * leave it out. Those of the same name whose process was killed are removed; of a process of another machine or container,
 * after an hour.
 * @param name begins the directory's name.
 */
export function makeScratch(directory: string, name = ''): string {
  removeAbandoned(directory, name);
  const scratch = join(directory, `${name}.nx-ec2-${processMark()}`);
  makeDirectory(scratch);
  for (const name of ['.gitignore', '.nxignore']) writeFileSync(join(scratch, name), '*\n');
  return scratch;
}

/** `<namespace>-<process id>-<random>`: part of the name of what this process alone writes to. */
export function processMark(): string {
  return `${namespace()}-${process.pid}-${randomBytes(4).toString('hex')}`;
}

/** Whether the process of a mark that is in the name of `path` has ended: `likely`, where only the time tells. */
export function hasEnded(mark: string, path: string): 'surely' | 'likely' | undefined {
  const [of, pid] = mark.split('-');
  if (of === namespace()) return isAlive(Number(pid)) ? undefined : 'surely';
  return Date.now() - lastWritten(path) > ABANDONED_AFTER_MS ? 'likely' : undefined;
}

/** Whether a path is, or is below, a name that nx-ec2 keeps its own files under: a state directory, a download, scratch. */
export function isOwnFile(path: string): boolean {
  if (!path.includes('.nx-ec2')) return false;
  return isScratch(path) || path.split('/').some((part) => part === '.nx-ec2' || part.endsWith('.nx-ec2-part'));
}

/** Whether a path is that of a scratch directory, or below one. */
export function isScratch(path: string): boolean {
  return path.includes('.nx-ec2-') && path.split('/').some((part) => SCRATCH.test(part));
}

function removeAbandoned(directory: string, name: string): void {
  for (const each of entries(directory)) {
    const [ending, mark] = SCRATCH.exec(each) ?? [];
    if (ending === undefined || each !== name + ending) continue;
    const path = join(directory, each);
    if (hasEnded(mark, path)) rmSync(path, { recursive: true, force: true });
  }
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Where a process id says something: on this machine until it restarts, in one PID namespace (a container has its own). */
function namespace(): string {
  const parts = [hostname(), bootId(), pidNamespace()];
  return hash('sha256', parts.join('\0'), 'hex').slice(0, 8);
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

/** When a file, or anything in a directory, was last written to, ms since the epoch. */
function lastWritten(path: string): number {
  try {
    const stats = lstatSync(path);
    if (!stats.isDirectory()) return stats.mtimeMs;
    return Math.max(stats.mtimeMs, ...readdirSync(path).map((each) => lastWritten(join(path, each))));
  } catch {
    return Date.now();
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
