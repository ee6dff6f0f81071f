import { fork, spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { root } from '../programs';
import { now, type Timing } from './contender';

/** What a driver tells when it is through. */
export interface Report {
  begun: number;
  ended: number;
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
    env: { ...process.env, AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true', ...options.env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let out = '';
  let said = '';
  child.stdout!.on('data', (data) => (out += data));
  child.stderr!.on('data', (data) => (said += data));
  const done = new Promise<Timing & { out: string }>((resolve, reject) => {
    let told: (Report & { memory: number }) | undefined;
    child.on('message', (message) => (told = message as typeof told));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (!told || told.error || code !== 0)
        return reject(
          new Error(`${name} ended with ${code ?? signal}: ${told?.error ?? ''}${said}${out.slice(-2_000)}`),
        );
      const { begun, ended, memory } = told;
      resolve({ begun, ended, startUp: begun - started, clientMemory: memory, out });
    });
  });
  return { child, done };
}

/** `nx` with these words, as a terminal starts it. Its beginning is the process's. */
export function startNx(args: string[], cwd: string, env: Record<string, string>): Driving {
  const begun = now();
  const child = spawn(process.execPath, [join(root, 'node_modules/nx/dist/bin/nx.js'), ...args], {
    cwd,
    env: { ...process.env, NX_NO_CLOUD: 'true', AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  child.stdout.on('data', (data) => (out += data));
  const done = new Promise<Timing & { out: string }>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve({ begun, ended: now(), out });
      else reject(new Error(`nx ended with ${code ?? signal}: ${out.slice(-2_000)}`));
    });
  });
  return { child, done };
}

/** The other end: does the task that this process was started for, and tells how it went. */
export function driven<T>(work: (task: T) => Promise<{ begun: number }>): void {
  const report = (message: Partial<Report>) => {
    const memory = process.resourceUsage().maxRSS * 1024;
    process.send!({ ...message, ended: now(), memory }, () => process.disconnect());
  };
  work(JSON.parse(process.argv[2]) as T).then(report, (error: Error) => report({ error: error.stack }));
}
