import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** The variable that marks every process of an instance, so that its end can find them all. */
export const MARK = 'NX_EC2_LOCAL_INSTANCE';

/** Every process that was ever started in the instance, also one that left its session and its parent. */
export function processesOf(instance: string): number[] {
  const mark = `${MARK}=${instance}`;
  if (process.platform === 'linux') {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(mark);
        } catch {
          return false;
        }
      })
      .map(Number);
  }
  return execFileSync('ps', ['-A', '-E', '-ww', '-o', 'pid=,command='], { encoding: 'utf8', maxBuffer: 1 << 26 })
    .split('\n')
    .filter((line) => line.includes(mark))
    .map((line) => parseInt(line, 10))
    .filter((pid) => pid !== process.pid);
}

/** Ends all of them. */
export function endProcesses(instance: string): void {
  for (let rounds = 0; rounds < 20; rounds++) {
    const found = processesOf(instance);
    if (!found.length) return;
    for (const pid of found) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    }
  }
}
