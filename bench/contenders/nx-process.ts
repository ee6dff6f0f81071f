import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../programs';
import type { Timing } from './contender';
import type { Driving } from './driver';
import { ownEnvironment } from './environment';

const NX = join(root, 'node_modules/nx/dist/bin/nx.js');
const USAGE = join(root, 'bench/processor/usage.py');

interface NxOptions {
  cwd: string;
  env: Record<string, string>;
  signal?: AbortSignal;
}

/** `nx` with these arguments, as a terminal starts it: the time is from the start of the process to its exit. */
export function startNx(args: string[], { cwd, env, signal }: NxOptions): Driving {
  const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-usage-'));
  const report = join(directory, 'usage.json');
  const child = spawn('python3', ['-I', '-S', USAGE, report, process.execPath, NX, ...args], {
    cwd,
    env: nxEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  });
  let out = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (out += data));
  const done = new Promise<Timing & { out: string }>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve({ ...(JSON.parse(readFileSync(report, 'utf8')) as Timing), out });
      else reject(new Error(`nx ${args.join(' ')} ended with ${code ?? signal}: ${out.slice(-2_000)}`));
      rmSync(directory, { recursive: true });
    });
  });
  return { child, done };
}

/** `nx` to its end, for what is not measured. */
export function runNx(args: string[], cwd: string, env: Record<string, string> = { NX_DAEMON: 'false' }): void {
  execFileSync(process.execPath, [NX, ...args], { cwd, env: nxEnvironment(env), stdio: 'ignore' });
}

/** Of a workspace that has one. */
export function stopDaemon(cwd: string): void {
  runNx(['daemon', '--stop'], cwd, {});
}

function nxEnvironment(env: Record<string, string>): NodeJS.ProcessEnv {
  return { ...ownEnvironment(), NX_NO_CLOUD: 'true', ...env };
}
