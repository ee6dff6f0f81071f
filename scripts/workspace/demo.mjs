// The main job on local AWS: packs the plugin, makes a workspace from examples/, trains the digits.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startLocalAws } from './local-aws.mjs';
import { makeWorkspace } from './make-workspace.mjs';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const workspace = join(root, 'demo');
console.log('Packing nx-ec2 and making a workspace from examples/ in demo/ …');
makeWorkspace(workspace);
const local = await startLocalAws(workspace);
console.log(`Local AWS runs on ${local.url}.\n\n$ npx nx run digits:remote-train\n`);
const train = spawnSync('npx', ['nx', 'run', 'digits:remote-train', '--outputStyle=stream'], {
  cwd: workspace,
  stdio: ['ignore', 'inherit', 'inherit'],
  env: { ...process.env, ...local.environment, NX_DAEMON: 'false', NX_TUI: 'false' },
});
local.server.kill('SIGTERM');
console.log(`\nExit code ${train.status}. Try next:
  cd demo && npx nx-ec2 local-aws        in one terminal; it prints what to export in another
  npx nx run digits:remote-train         again: Nx restores the artifacts from its cache
  npx nx run digits:remote-train --args="--epochs 3"
  npx nx run digits:remote-status        the runs; --run=last shows one in full
  npx nx run digits:remote-doctor`);
process.exitCode = train.status ?? 1;
