import { createHash, randomBytes } from 'node:crypto';
import {
  linkSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

const held = new Set<string>();

/** A server touches its lock this often, ms: in another PID namespace (a container has its own) its id says nothing. */
const TOUCH_MS = 10_000;
/** There, a lock that was not touched for so long, ms, is that of a server that is gone. */
const ABANDONED_AFTER_MS = 60_000;

/** Keeps a state directory to one server. A lock whose process is gone is taken over. @returns what lets it go. */
export function lockState(directory: string): () => void {
  const path = realpathSync(directory);
  const lock = join(path, 'lock');
  const own = join(path, `lock.${process.pid}-${randomBytes(4).toString('hex')}`);
  // Written whole first: a link either takes the name with the content, or fails.
  writeFileSync(own, mark(process.pid));
  try {
    while (!takeName(own, lock)) {
      const holder = read(lock);
      if (isHeld(lock, holder, path))
        throw new Error(
          `local AWS runs on ${directory} already (PID ${parseInt(holder)}${isElsewhere(holder) ? ' of another container' : ''}): stop it, or choose another directory.${isElsewhere(holder) ? ' If it was killed, try again in a minute.' : ''}`,
        );
      removeDead(lock, holder, own, path);
    }
    held.add(path);
    const timer = setInterval(() => touch(lock), TOUCH_MS).unref();
    return () => {
      clearInterval(timer);
      held.delete(path);
      rmSync(lock, { force: true });
    };
  } finally {
    rmSync(own, { force: true });
  }
}

function touch(lock: string): void {
  try {
    utimesSync(lock, new Date(), new Date());
  } catch {
    // The directory was removed.
  }
}

/**
 * A process by its id and, where the system tells, its start and PID namespace: after a restart, and in another container,
 * another process can have the same id.
 */
export function mark(pid: number): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${pid} ${boot} ${statFields(pid)[19]} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return String(pid);
  }
}

/** What Linux says of a process: its state first, its start as the 20th field. */
function statFields(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name of the program, in parentheses, can hold spaces.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** Removes the lock of a process that is gone, unless another process has taken it over since it was read. */
function removeDead(lock: string, holder: string, own: string, path: string): void {
  // Of several processes that found the same dead lock, one at a time compares it once more and removes it.
  const right = `${lock}.${createHash('sha256').update(holder).digest('hex').slice(0, 16)}`;
  if (!takeName(own, right)) {
    if (!isHeld(right, read(right), path)) rmSync(right, { force: true });
    return;
  }
  try {
    if (read(lock) === holder) rmSync(lock, { force: true });
  } finally {
    rmSync(right, { force: true });
  }
}

/** @returns whether the name was free. */
function takeName(own: string, name: string): boolean {
  try {
    linkSync(own, name);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** Whether a mark is of a process that runs since the same start of this machine, in another PID namespace. */
function isElsewhere(holder: string): boolean {
  const [[, boot, , namespace], [, ownBoot, , ownNamespace]] = [holder, mark(process.pid)].map((each) =>
    each.split(' '),
  );
  return namespace !== undefined && boot === ownBoot && namespace !== ownNamespace;
}

function isHeld(file: string, holder: string, path: string): boolean {
  if (isElsewhere(holder)) return Date.now() - touched(file) < ABANDONED_AFTER_MS;
  const pid = Number(/^[1-9]\d*(?=$| )/.exec(holder)?.[0]);
  if (!pid) return false;
  if (pid === process.pid && !held.has(path)) return false;
  // A lock without a start is of a system that does not tell it, or of an earlier version.
  return isAlive(pid) && (!holder.includes(' ') || mark(pid) === holder);
}

function touched(file: string): number {
  try {
    return statSync(file).mtimeMs;
  } catch {
    return 0;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  try {
    // In a container, nobody may wait for a process that was killed: it keeps its id.
    return statFields(pid)[0] !== 'Z';
  } catch {
    return true;
  }
}
