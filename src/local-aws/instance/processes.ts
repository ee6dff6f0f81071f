import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { killGroup, processesIn, removeGroup, runGroups } from './run-groups';

/** The variable that marks every process of an instance, so that its end can find them all. */
export const MARK = 'NX_EC2_LOCAL_INSTANCE';

/** How long the processes of an instance are killed again, ms: one that the kernel holds may never end. */
const KILL_TIMEOUT_MS = 5000;
const KILL_POLL_MS = 5;
/** A process that forks and ends may be missed by one scan. */
const QUIET_SCANS = 2;

interface Process {
  pid: number;
  parent: number;
  marked: boolean;
}

/**
 * Every process that was started in the instance, also one that left its session and cleared its environment: those
 * with the mark, all that descends from them, and those in the control groups of its runs.
 */
export function processesOf(instance: string, disk: string): number[] {
  const mark = `${MARK}=${instance}`;
  const all = process.platform === 'linux' ? listProc(mark) : listPs(mark);
  const alive = new Set(all.map(({ pid }) => pid));
  const inGroups = runGroups(instance, disk).flatMap(processesIn);
  const found = new Set([...all.filter(({ marked }) => marked).map(({ pid }) => pid), ...inGroups]);
  for (let before = -1; before < found.size;) {
    before = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  }
  found.delete(process.pid);
  return [...found].filter((pid) => alive.has(pid)).sort((one, other) => one - other);
}

/** Kills all of them, and removes the control groups of the instance's runs. */
export function endProcesses(instance: string, disk: string): void {
  const end = performance.now() + KILL_TIMEOUT_MS;
  const groups = runGroups(instance, disk);
  const refused = new Set<number>();
  const left = () => processesOf(instance, disk).filter((pid) => !refused.has(pid));
  do {
    // Stopped first: a supervisor would see the end of its training and report it, and what is stopped forks no more.
    const stopped = new Set<number>();
    for (let quiet = 0; quiet < QUIET_SCANS && performance.now() < end;) {
      const fresh = left().filter((pid) => !stopped.has(pid));
      quiet = fresh.length ? 0 : quiet + 1;
      for (const pid of fresh) {
        stopped.add(pid);
        if (!send(pid, 'SIGSTOP')) refused.add(pid);
      }
    }
    groups.forEach(killGroup);
    for (const pid of stopped) send(pid, 'SIGKILL');
    if (stopped.size) sleepSync(KILL_POLL_MS);
  } while (left().length && performance.now() < end);
  // What belongs to another user may still be ending, killed by its group.
  while (groups.some((group) => !removeGroup(group)) && performance.now() < end) sleepSync(KILL_POLL_MS);
}

/** @returns false if the process is another user's, which this one may not signal. */
function send(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EPERM';
  }
  return true;
}

/** The processes of this machine that have not ended. */
function listProc(mark: string): Process[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const stat = readProc(pid, 'stat');
      // pid (name) state parent …: the name may hold anything.
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (!stat || state === 'Z' || state === 'X') return [];
      return [
        { pid: Number(pid), parent: Number(parent), marked: readProc(pid, 'environ').split('\0').includes(mark) },
      ];
    });
}

function readProc(pid: string, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}

function listPs(mark: string): Process[] {
  const columns = 'pid=,ppid=,stat=,command=';
  return execFileSync('ps', ['-A', '-E', '-ww', '-o', columns], { encoding: 'utf8', maxBuffer: 1 << 26 })
    .split('\n')
    .flatMap((line) => {
      const [, pid, parent, state] = /^\s*(\d+)\s+(\d+)\s+(\S+)/.exec(line) ?? [];
      if (!pid || state.startsWith('Z')) return [];
      return [{ pid: Number(pid), parent: Number(parent), marked: line.includes(mark) }];
    });
}

function sleepSync(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
