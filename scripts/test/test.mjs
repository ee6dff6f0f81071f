// npm test: unit and integration, the runtime, the interoperability tests, the end-to-end suite, part of it on Node 22. NX_EC2_E2E_NX chooses the versions of Nx.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const nx = process.env.NX_EC2_E2E_NX ?? '22.7.8,23.2.1,24.0.6';
const environment = { ...process.env, NX_EC2_E2E_NX: nx };
/** `script`: its name, or the name and its arguments. */
const words = (script) => {
  const [name, ...args] = [script].flat();
  return ['run', '--silent', name, ...(args.length ? ['--', ...args] : [])];
};

/** Runs one after another, each with its output as it comes. */
function inOrder(...scripts) {
  for (const script of scripts) {
    const { status } = spawnSync('npm', words(script), { stdio: 'inherit', env: environment });
    if (status !== 0) process.exit(status || 1);
  }
}

/** Of one script, ms: what takes longer hangs. */
const LIMIT_MS = 75 * 60_000;
const began = Date.now();

/** Those that run beside others. */
const running = new Set();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.once(signal, () => {
    for (const child of running) process.kill(-child.pid, signal);
    process.kill(process.pid, signal);
  });

/** Runs a script; what it says is said when it has ended. One that hangs is ended, with all that it has started. */
function run(script) {
  return new Promise((resolve) => {
    const parts = [];
    const child = spawn('npm', words(script), { stdio: ['ignore', 'pipe', 'pipe'], env: environment, detached: true });
    running.add(child);
    const limit = setTimeout(() => {
      parts.push(Buffer.from(`\nEnded: not done after ${LIMIT_MS / 60_000} minutes.\n`));
      process.kill(-child.pid, 'SIGKILL');
    }, LIMIT_MS);
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => parts.push(data));
    child.once('close', (code) => {
      clearTimeout(limit);
      running.delete(child);
      const minutes = ((Date.now() - began) / 60_000).toFixed(1);
      process.stdout.write(`\n# npm run ${[script].flat()[0]} (ended after ${minutes} minutes)\n`);
      process.stdout.write(Buffer.concat(parts));
      resolve(code);
    });
  });
}

/** Runs several lanes at once, the scripts of each one after another until one fails. */
async function beside(...lanes) {
  const codes = await Promise.all(
    lanes.map(async (scripts) => {
      for (const script of scripts) {
        const code = await run(script);
        if (code !== 0) return code;
      }
      return 0;
    }),
  );
  const failed = codes.find((code) => code !== 0);
  if (failed !== undefined) process.exit(failed || 1);
}

inOrder('build');
// One tarball for all workspaces: several are made at once.
const packed = join(root, '.cache/packed');
rmSync(packed, { recursive: true, force: true });
mkdirSync(packed, { recursive: true });
const { stdout } = spawnSync('npm', ['pack', '--silent', '--pack-destination', packed], {
  cwd: root,
  encoding: 'utf8',
});
environment.NX_EC2_TARBALL = join(packed, stdout.trim().split('\n').pop());
// A workspace with each version of Nx, which end-to-end tests take theirs from: what is installed is installed once.
const workspaces = join(root, '.cache/workspaces');
rmSync(workspaces, { recursive: true, force: true });
environment.NX_EC2_WORKSPACES = workspaces;
await beside(['test:unit'], ['test:remote'], ['test:interop'], [['workspaces', workspaces, nx]]);
inOrder('test:e2e', 'test:node22');
