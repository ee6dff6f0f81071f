import { lstatSync, readdirSync, readFileSync, rmdirSync, statfsSync, writeFileSync } from 'node:fs';
import { basename, isAbsolute, join } from 'node:path';

/** CGROUP2_SUPER_MAGIC of Linux. */
const CGROUP2 = 0x63677270;

/**
 * The control groups of the runs on an instance's disk, as the runtime noted their paths (src/runtime/system/cgroup.py).
 * A training can write there too: a path that is not such a group's is left out.
 */
export function runGroups(instance: string, disk: string): string[] {
  const runs = join(disk, 'root/runs');
  return list(runs).flatMap((run) => {
    const path = read(join(runs, run, 'cgroup'));
    return isAbsolute(path) && basename(path) === `nx-ec2-${instance}-${run}` && isGroup(path) ? [path] : [];
  });
}

/** The processes in a group and in those below it; a zombie is in none. */
export function processesIn(group: string): number[] {
  const own = read(join(group, 'cgroup.procs')).split('\n').map(Number);
  // 0 is a process that has no number here.
  return [...own.filter((pid) => pid > 0), ...groupsIn(group).flatMap(processesIn)];
}

/** SIGKILL for all processes in it in one step, so that nothing is forked meanwhile. */
export function killGroup(group: string): void {
  try {
    writeFileSync(join(group, 'cgroup.kill'), '1', { flag: 'r+' });
  } catch {
    // The kernel is older than 5.14, or the group is gone.
  }
}

/** @returns whether it is gone; a group with a process in it stays. */
export function removeGroup(group: string): boolean {
  for (const below of groupsIn(group)) removeGroup(below);
  try {
    rmdirSync(group);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
  return true;
}

function groupsIn(group: string): string[] {
  try {
    const entries = readdirSync(group, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(group, name));
  } catch {
    return [];
  }
}

function isGroup(path: string): boolean {
  try {
    return statfsSync(path).type === CGROUP2;
  } catch {
    return false;
  }
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function read(file: string): string {
  try {
    // To open a named pipe would wait for its writer.
    return lstatSync(file).isFile() ? readFileSync(file, 'utf8') : '';
  } catch {
    return '';
  }
}
