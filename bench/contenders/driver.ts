import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { ownEnvironment } from './environment';
import { now, type Timing } from './contender';

/** What a driver tells when it is through. */
export interface Report {
  begun: number;
  ended: number;
  /** Before `begun`: the loading of the code that is measured, ms. */
  loading?: number;
  error?: string;
}

export interface Driving {
  child: ChildProcess;
  /** Its end, with what it wrote to standard output. */
  done: Promise<Timing & { out: string }>;
}

interface Options {
  cwd: string;
  env: Record<string, string>;
  signal?: AbortSignal;
}

/** Runs `bench/contenders/<name>.js` in a process of its own: nothing is loaded or connected before. */
export function drive(name: string, task: object, options: Options): Driving['done'] {
  return start(name, task, options).done;
}

/** The same, for who has something to do meanwhile. */
export function start(name: string, task: object, options: Options): Driving {
  const started = now();
  const child = fork(join(__dirname, `${name}.js`), [JSON.stringify(task)], {
    ...options,
    killSignal: 'SIGKILL',
    env: { ...ownEnvironment(), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let out = '';
  let said = '';
  child.stdout!.on('data', (data) => (out += data));
  child.stderr!.on('data', (data) => (said += data));
  const done = new Promise<Timing & { out: string }>((resolve, reject) => {
    let told: (Report & { memory: number; processor: number }) | undefined;
    child.on('message', (message) => (told = message as typeof told));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (!told || told.error || code !== 0)
        return reject(
          new Error(`${name} ended with ${code ?? signal}: ${told?.error ?? ''}${said}${out.slice(-2_000)}`),
        );
      const { begun, ended, loading, memory, processor } = told;
      resolve({ begun, ended, startUp: begun - started, loading, clientMemory: memory, processor, out });
    });
  });
  return { child, done };
}

/** The other end: does the task that this process was started for, and tells how it went. */
export function driven<T>(work: (task: T) => Promise<{ begun: number; loading?: number }>): void {
  const report = (message: Partial<Report>) => {
    const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
    const used = { memory: maxRSS * 1024, processor: (userCPUTime + systemCPUTime) / 1000 };
    process.send!({ ...message, ended: now(), ...used }, () => process.disconnect());
  };
  work(JSON.parse(process.argv[2]) as T).then(report, (error: Error) => report({ error: error.stack }));
}
