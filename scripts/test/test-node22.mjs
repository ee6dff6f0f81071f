// Runs the tests, and a training in a real workspace, on the other line of Node that the package promises: 22, fetched into .cache.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const jest = createRequire(import.meta.url).resolve('jest/bin/jest');
const carrier = `node-${process.platform}-${process.arch}`;
const home = join(root, '.cache/node22');
const bin = join(home, 'node_modules', carrier, 'bin');

if (Number(process.versions.node.split('.')[0]) >= 22) {
  console.log(`Node 22: all of it ran on Node ${process.versions.node}, nothing to add.`);
} else if (!installed()) {
  console.warn(`Node 22: SKIPPED, npm can't install ${carrier}@22 here.`);
} else {
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` };
  const run = (args, more) =>
    spawnSync(join(bin, 'node'), [jest, ...args], { cwd: root, stdio: 'inherit', env: { ...env, ...more } }).status;
  console.log(`The same on Node ${spawnSync(join(bin, 'node'), ['--version'], { encoding: 'utf8' }).stdout.trim()}`);
  // What waits for instances is left to the other line: what it takes long for is Python's, not Node's.
  process.exitCode =
    run([
      '--testPathIgnorePatterns',
      'src/(run|instance|executors|prune|local-aws|context|project|doctor|watch)/',
      'src/command/(remote|session)',
      'src/sync/restore',
    ]) ||
    run(['--config', 'e2e/jest.config.js', 'main-job', '-t', 'trains, brings the artifacts back'], {
      NX_EC2_E2E_NX: (process.env.NX_EC2_E2E_NX ?? '24.0.6').split(',').pop(),
    });
}

function installed() {
  if (existsSync(join(bin, 'node'))) return true;
  const args = ['install', '--no-save', '--no-audit', '--no-fund', '--prefix', home, `${carrier}@22`];
  return (
    spawnSync('npm', args, { stdio: ['ignore', 'ignore', 'ignore'] }).status === 0 && existsSync(join(bin, 'node'))
  );
}
