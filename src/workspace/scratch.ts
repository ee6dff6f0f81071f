import { hash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';

/** `<name>.nx-ec2-<host>-<process id>-<random>` */
const SCRATCH = /\.nx-ec2-([0-9a-f]{8})-([1-9]\d{0,9})-[0-9a-f]{8}$/;

/**
 * Makes a directory for files that are not in their place yet, on the same file system as that place. Git, Nx and syncs
 * leave it out. Those of the same name whose process was killed are removed.
 * @param name begins the directory's name.
 */
export function makeScratch(directory: string, name = ''): string {
  removeAbandoned(directory, name);
  const ending = `.nx-ec2-${host()}-${process.pid}-${randomBytes(4).toString('hex')}`;
  const scratch = join(directory, name + ending);
  mkdirSync(scratch, { recursive: true });
  for (const name of ['.gitignore', '.nxignore']) writeFileSync(join(scratch, name), '*\n');
  return scratch;
}

/** Whether a path is that of a scratch directory, or below one. */
export function isScratch(path: string): boolean {
  return path.includes('.nx-ec2-') && path.split('/').some((part) => SCRATCH.test(part));
}

function removeAbandoned(directory: string, name: string): void {
  for (const each of entries(directory)) {
    const [ending, on, pid] = SCRATCH.exec(each) ?? [];
    if (ending === undefined || each !== name + ending) continue;
    if (on === host() && !isAlive(Number(pid))) rmSync(join(directory, each), { recursive: true, force: true });
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
