import { hash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';

/** `<name>.nx-ec2-<host>-<process id>-<random>` */
const SCRATCH = /\.nx-ec2-([0-9a-f]{8}-[1-9]\d{0,9}-[0-9a-f]{8})$/;

/**
 * Makes a directory for files that are not in their place yet, on the same file system as that place. Git, Nx and syncs
 * leave it out. Those of the same name whose process was killed are removed.
 * @param name begins the directory's name.
 */
export function makeScratch(directory: string, name = ''): string {
  removeAbandoned(directory, name);
  const scratch = join(directory, `${name}.nx-ec2-${processMark()}`);
  mkdirSync(scratch, { recursive: true });
  for (const name of ['.gitignore', '.nxignore']) writeFileSync(join(scratch, name), '*\n');
  return scratch;
}

/** `<host>-<process id>-<random>`: part of the name of what this process alone writes to. */
export function processMark(): string {
  return `${host()}-${process.pid}-${randomBytes(4).toString('hex')}`;
}

/** Whether the process of a mark has ended; false of one on another machine, of which nothing is known. */
export function hasEnded(mark: string): boolean {
  const [on, pid] = mark.split('-');
  return on === host() && !isAlive(Number(pid));
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
    if (hasEnded(mark)) rmSync(join(directory, each), { recursive: true, force: true });
  }
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Process ids say nothing on another machine. */
function host(): string {
  return hash('sha256', hostname(), 'hex').slice(0, 8);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
