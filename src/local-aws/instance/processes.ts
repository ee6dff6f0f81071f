import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** The variable that marks every process of an instance, so that its end can find them all. */
export const MARK = 'NX_EC2_LOCAL_INSTANCE';

interface Process {
  pid: number;
  parent: number;
  marked: boolean;
}

/**
 * The living processes of an instance: those that carry its mark, also when they left their session, group and
 * parent, and the descendants of those, also when they were started with another environment.
 */
export function processesOf(instance: string): number[] {
  const all = process.platform === 'linux' ? fromProc(instance) : fromPs(instance);
  const found = new Set(all.filter(({ marked }) => marked).map(({ pid }) => pid));
  for (let size = -1; size !== found.size;) {
    size = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  }
  // A local AWS that was itself started in an instance of another one does not end itself.
  found.delete(process.pid);
  return [...found];
}

/** Sends a signal to every process of an instance; returns how many there were. */
export function signalProcesses(instance: string, signal: NodeJS.Signals): number {
  const found = processesOf(instance);
  for (const pid of found) {
    try {
      process.kill(pid, signal);
    } catch {
      // It ended by itself.
    }
  }
  return found.length;
}

/** Kills every process of an instance, until a look finds none: one may have forked while it was looked for. */
export function killProcesses(instance: string): void {
  for (let round = 0; round < 50; round++) if (signalProcesses(instance, 'SIGKILL') === 0) return;
}

function fromProc(instance: string): Process[] {
  const mark = `${MARK}=${instance}`;
  const found: Process[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // "pid (name) state ppid …": the name may hold anything, parentheses too.
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (state === 'Z' || state === 'X') continue;
      found.push({ pid: Number(name), parent: Number(parent), marked: carries(name, mark) });
    } catch {
      // It ended meanwhile.
    }
  }
  return found;
}

function carries(pid: string, mark: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(mark);
  } catch {
    return false;
  }
}

function fromPs(instance: string): Process[] {
  const mark = `${MARK}=${instance}`;
  return execFileSync('ps', ['-A', '-E', '-ww', '-o', 'pid=,ppid=,stat=,command='], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  })
    .split('\n')
    .flatMap((line) => {
      const [, pid, parent, state, command] = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line) ?? [];
      if (!pid || state.startsWith('Z')) return [];
      return [{ pid: Number(pid), parent: Number(parent), marked: command.split(' ').includes(mark) }];
    });
}
