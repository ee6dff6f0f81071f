// Installs other people's programs (boto3, moto, cfn-lint, uv, TensorBoard, Jupyter) into .cache/interop, for the interoperability tests.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const list = join(root, 'e2e/interop/requirements.txt');
const home = join(root, '.cache/interop');
const complete = join(home, 'complete');
const wanted = readFileSync(list, 'utf8');

if (!existsSync(complete) || readFileSync(complete, 'utf8') !== wanted) {
  rmSync(home, { recursive: true, force: true });
  console.log('Installing boto3, moto, cfn-lint, uv, TensorBoard and Jupyter into .cache/interop …');
  const run = (command, ...args) => {
    const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr?.trim().split('\n').pop() || String(error ?? status));
  };
  try {
    run('python3', '-m', 'venv', home);
    run(join(home, 'bin/pip'), 'install', '--quiet', '--disable-pip-version-check', '-r', list);
    writeFileSync(complete, wanted);
  } catch (error) {
    console.warn(`They can't be installed here, so the tests that need them are skipped: ${error.message}`);
  }
}
const aws = spawnSync('aws', ['--version']).status === 0;
if (process.env.NX_EC2_REQUIRE_INTEROP && !existsSync(complete) && !aws) {
  console.error('The interoperability tests need boto3 or the AWS CLI: neither is installed.');
  process.exit(1);
}
