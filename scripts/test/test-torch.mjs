// Runs src/runtime/tests/real_torch*.py: trainings of several processes with real torch, on the CPU. The Python is the one that
// NX_EC2_TORCH_PYTHON names; else torch is installed once into .cache/torch. Skipped, with the reason, if it can't be installed;
// with --required that is a failure.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const directory = join(root, '.cache/torch');
/** A tenth of the size of the default wheels, which bring CUDA. */
const CPU_INDEX = 'https://download.pytorch.org/whl/cpu';
const INSTALL_TIMEOUT_MS = 30 * 60_000;
const required = process.argv.includes('--required');

const python = process.env.NX_EC2_TORCH_PYTHON ?? installed();
const { status: missing } = spawnSync(python, ['-c', 'import torch.distributed.run'], { stdio: 'inherit' });
if (missing !== 0) skip(`${python} has no torch.`);
const tests = join(root, 'src/runtime/tests');
const { status } = spawnSync(
  'python3',
  ['-B', '-m', 'unittest', 'discover', '-v', '-s', tests, '-p', 'real_torch*.py'],
  {
    stdio: 'inherit',
    env: { ...process.env, NX_EC2_TORCH_PYTHON: python },
  },
);
process.exit(status ?? 1);

function skip(why) {
  console.log(`\nSKIPPED: the launcher was not tested with real torch. ${why}`);
  process.exit(required ? 1 : 0);
}

/** The Python of .cache/torch, with torch. */
function installed() {
  const found = join(directory, 'bin/python');
  if (existsSync(join(directory, 'installed'))) return found;
  rmSync(directory, { recursive: true, force: true });
  if (run('python3', ['-m', 'venv', directory]) !== 0) skip("python3 can't make a virtual environment.");
  const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
  console.log(`Installing torch into ${directory}, once.`);
  const isInstalled =
    run(found, [...install, '--retries=0', '--timeout=15', `--index-url=${CPU_INDEX}`, 'torch', 'numpy']) === 0 ||
    run(found, [...install, 'torch', 'numpy']) === 0;
  if (!isInstalled)
    skip("torch can't be installed: neither PyTorch's index for the CPU nor the configured one has it.");
  mkdirSync(join(directory, 'new'));
  renameSync(join(directory, 'new'), join(directory, 'installed'));
  return found;
}

function run(program, args) {
  return spawnSync(program, args, { stdio: 'inherit', timeout: INSTALL_TIMEOUT_MS }).status;
}
