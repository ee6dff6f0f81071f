import { spawn, type SpawnOptions } from 'node:child_process';
import type { Testbed } from '../testbed/testbed';
import type { Input } from '../inputs/inputs';

/** A way to have a directory on an instance. */
export interface Contender {
  name: string;
  /** What it is and what of it is counted, for who reads the table. */
  about: string;
  /** Why it can't be measured here; null where it can. */
  missing(): string | null;
  /** A place where it has never been. */
  open(site: Site): Promise<Course>;
}

export interface Site {
  testbed: Testbed;
  input: Input;
  /** An empty directory for whatever it needs; it goes afterwards. */
  directory: string;
}

/** One contender with one input, from nothing on. */
export interface Course {
  /** Makes the instance's copy what the input is now. */
  sync(signal?: AbortSignal): Promise<Timing>;
  /** Where the instance's copy is. */
  target(): string;
  close(): void;
}

export interface Timing {
  /** ms since the epoch, as the one who is measured says it. */
  begun: number;
  ended: number;
  /** Before `begun`: the process's start and the loading of its code, ms. */
  startUp?: number;
  /** Of it, the loading of the code alone, ms. */
  loading?: number;
  /** User and system time of the client's process and its children, ms. */
  processor?: number;
  /** The client's largest memory, bytes. */
  clientMemory?: number;
}

export function now(): number {
  return performance.timeOrigin + performance.now();
}

export async function timed(work: () => Promise<unknown>): Promise<Timing> {
  const begun = now();
  await work();
  return { begun, ended: now() };
}

/** Runs a program to its end. @returns its standard output; it fails with what the program said. */
export function run(command: string, args: string[], options: SpawnOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let said = '';
    child.stdout!.on('data', (data) => (out += data));
    child.stderr!.on('data', (data) => (said += data));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve(out);
      else reject(new Error(`${command} ended with ${code ?? signal}: ${(said || out).slice(-2_000)}`));
    });
  });
}
