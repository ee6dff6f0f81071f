import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const TICK_MS = 1000 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** User and system time of a process so far, ms; of its children, those that it waited for. Linux alone. */
export function processorTime(pid: number): { own: number; children: number } {
  return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
}

/** @param stat a line of /proc/PID/stat, where the name of the program may hold anything. */
export function parseStat(stat: string, tickMs = TICK_MS): { own: number; children: number } {
  const [user, system, childrenUser, childrenSystem] = stat
    .replace(/^.*\) /s, '')
    .split(' ')
    .slice(11, 15)
    .map((ticks) => Number(ticks) * tickMs);
  return { own: user + system, children: childrenUser + childrenSystem };
}
