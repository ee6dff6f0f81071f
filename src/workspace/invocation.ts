import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { ExecutorContext } from '@nx/devkit';
import { Problem } from '../report/problem';
import { nxRun } from '../report/shell-words';
import type { TargetName } from '../config/schema/executor-options';

/** How far up the processes Nx's own command line is looked for. */
const MAX_PARENTS = 6;

/** The command line of the nx process that runs this executor; null where it can't be read. */
export function nxCommandLine(): string[] | null {
  return findNxProcess()?.args ?? null;
}

/** Returns the nearest nx process above this one; null if it can't be found. */
export function findNxProcess(): { pid: number; args: string[] } | null {
  let pid = process.ppid;
  for (let depth = 0; depth < MAX_PARENTS && pid > 1; depth++) {
    const [args, parent] = readProcess(pid) ?? [null, 0];
    if (!args) return null;
    if (args.some((arg) => /(^|\/)nx(\.js)?$/.test(arg))) return { pid, args };
    pid = parent;
  }
  return null;
}

function readProcess(pid: number): [string[], number] | null {
  try {
    if (process.platform === 'linux') {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      return [args, Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])];
    }
    const line = execFileSync('ps', ['-ww', '-o', 'ppid=,args=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    const [, parent, args] = /^(\d+)\s+([^]*)$/.exec(line) ?? [];
    return args ? [args.split(/\s+/), Number(parent)] : null;
  } catch {
    return null;
  }
}

/** Before this executor's own process, ms: where the start of the nx process can't be read. */
const UNKNOWN_START_MS = 60_000;

/** When the nx process that runs this executor started, ms since the epoch, by this machine's clock. */
export function nxStartedAt(): number {
  const unknown = Date.now() - process.uptime() * 1000 - UNKNOWN_START_MS;
  try {
    if (process.platform !== 'linux') {
      const text = execFileSync('ps', ['-o', 'lstart=', '-p', String(process.ppid)], {
        encoding: 'utf8',
        env: { ...process.env, LC_ALL: 'C' },
      });
      return Date.parse(text.trim()) || unknown;
    }
    const stat = readFileSync(`/proc/${process.ppid}/stat`, 'utf8');
    // proc(5): the 22nd field, in ticks of 10 ms since the machine booted; 19 fields stand between the state and it.
    const ticks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
    const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
    return Date.now() - uptime * 1000 + ticks * 10 || unknown;
  } catch {
    return unknown;
  }
}

/**
 * The configuration that a command line of nx asks for (`-c x`, `--configuration=x`, `project:target:x`), or undefined.
 * @param task `project:target`.
 */
export function askedConfiguration(args: readonly string[], task: string): string | undefined {
  const end = args.indexOf('--');
  const own = end === -1 ? args : args.slice(0, end);
  let asked: string | undefined;
  own.forEach((arg, index) => {
    const joined = /^(?:-c|--configuration)=([^]*)$/.exec(arg);
    if (joined) asked = joined[1];
    else if (arg.startsWith(`${task}:`)) asked = arg.slice(task.length + 1);
    else if ((arg === '-c' || arg === '--configuration') && own[index + 1] !== undefined) asked = own[index + 1];
  });
  return asked;
}

/** Nx drops a configuration that a target does not define, silently. Training with the wrong one is never right. */
export function assertKnownConfiguration(
  context: ExecutorContext,
  args: readonly string[] | null = nxCommandLine(),
): void {
  const project = context.projectName!;
  const target = context.targetName!;
  const asked = args ? askedConfiguration(args, `${project}:${target}`) : undefined;
  if (!asked || asked === context.configurationName) return;
  const known = Object.keys(context.projectsConfigurations.projects[project]?.targets?.[target]?.configurations ?? {});
  if (known.includes(asked)) return;
  throw new Problem('CONFIGURATION_UNKNOWN', `${project}:${target} has no configuration "${asked}".`, {
    next: known.length
      ? `It has: ${known.join(', ')}.`
      : `It has none; define it under "targets.${target}.configurations" in project.json.`,
  });
}

/** The command line of another target of this project, by whatever name this workspace has it. */
export function targetCommand(context: ExecutorContext, name: TargetName): string {
  const project = context.projectName!;
  const targets = context.projectsConfigurations.projects[project]?.targets ?? {};
  const called = Object.keys(targets).find((key) => targets[key].executor === `nx-ec2:${name}`) ?? name;
  return nxRun(project, called);
}
