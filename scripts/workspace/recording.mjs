// Records a first training on local AWS and writes docs/images/first-run.svg, which the README shows: npm run recording
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { startLocalAws } from './local-aws.mjs';
import { makeWorkspace } from './make-workspace.mjs';
import { terminalSvg } from './terminal-svg.mjs';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const image = join(root, 'docs/images/first-run.svg');
const workspace = join(root, '.cache/recording');
const screen = { columns: 112, rows: 34, title: 'A first training with nx-ec2, on local AWS' };
/** Between two keys; between the end of a command and the next one; what the last screen needs to be read. */
const [KEY_MS, PAUSE_MS] = [35, 1_200];

console.log('Packing nx-ec2 and making a workspace …');
makeWorkspace(workspace);
const local = await startLocalAws(workspace);
const environment = { ...process.env, ...local.environment, NX_TUI: 'false', TERM: 'xterm-256color', FORCE_COLOR: '1' };
delete environment.CI;

const events = [];
let now = 0;
const write = (text) => events.push({ ms: now, bytes: Buffer.from(text) });

/** Types a command and runs it on a terminal. */
async function run(command) {
  write('\x1b[32m$\x1b[0m ');
  for (const key of command) {
    now += KEY_MS;
    write(key);
  }
  now += 300;
  write('\r\n');
  const { columns, rows } = screen;
  const recorder = join(root, 'scripts/workspace/record-terminal.py');
  const child = spawn('python3', [recorder, columns, rows, 'sh', '-c', command].map(String), {
    cwd: workspace,
    env: environment,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const start = now;
  for await (const line of createInterface({ input: child.stdout })) {
    const { ms, bytes } = JSON.parse(line);
    now = start + ms;
    events.push({ ms: now, bytes: Buffer.from(bytes, 'hex') });
  }
  now += PAUSE_MS;
}

/** Changes one line of the training, as an editor does. */
function edit() {
  const script = join(workspace, 'digits/train.py');
  writeFileSync(script, readFileSync(script, 'utf8').replace('CLASSES = 10', 'CLASSES = 10  # 0 to 9'));
}

try {
  await run('npx nx run digits:remote-train');
  edit();
  await run('git diff --stat');
  await run('npx nx run digits:remote-sync');
  await run('npx nx run digits:remote-train --args="--epochs 3"');
} finally {
  local.server.kill('SIGTERM');
}
mkdirSync(dirname(image), { recursive: true });
writeFileSync(image, await terminalSvg(events, screen));
console.log(`${image}: ${(now / 1000).toFixed(0)} s in ${events.length} steps.`);
