import { linkSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const held = new Set<string>();

/** Keeps a state directory to one server. A lock whose process is gone is taken over. @returns what lets it go. */
export function lockState(directory: string): () => void {
  const path = realpathSync(directory);
  const lock = join(path, 'lock');
  const own = join(path, `lock.${process.pid}`);
  // Written whole first: a link either takes the name with the content, or fails.
  writeFileSync(own, String(process.pid));
  try {
    for (;;) {
      try {
        linkSync(own, lock);
        held.add(path);
        return () => {
          held.delete(path);
          rmSync(lock, { force: true });
        };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const holder = Number(readFileSync(lock, 'utf8'));
      if (holder === process.pid ? held.has(path) : isAlive(holder)) {
        throw new Error(
          `local AWS runs on ${directory} already (PID ${holder}): stop it, or choose another directory.`,
        );
      }
      rmSync(lock, { force: true });
    }
  } finally {
    rmSync(own, { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
