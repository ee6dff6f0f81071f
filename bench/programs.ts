import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

/** The repository: this file runs from .cache/bench/js/bench. */
export const root = join(__dirname, '../../../..');

/** The built plugin as npm publishes it: the tarball that NX_EC2_TARBALL names, or one of dist/. */
export function packPlugin(): string {
  if (process.env.NX_EC2_TARBALL) return process.env.NX_EC2_TARBALL;
  const target = join(root, '.cache/bench');
  mkdirSync(target, { recursive: true });
  const args = ['pack', '--silent', '--pack-destination', target];
  return join(target, execFileSync('npm', args, { cwd: root, encoding: 'utf8' }).trim().split('\n').pop()!);
}

/** Puts the interpreter itself first in PATH: where `python3` is a script that looks for one, as pyenv's, it takes 100 ms. */
export function preferInterpreter(): void {
  const program = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
  process.env.PATH = dirname(program) + delimiter + process.env.PATH;
}

const AWS_CLI = '1.45.11';

export function installed(program: string): boolean {
  return spawnSync(program, ['--version']).status === 0;
}

/** The AWS CLI from PyPI, in .cache/bench/aws; null where it can't be installed. */
export function awsCli(): string | null {
  const home = join(root, `.cache/bench/aws-${AWS_CLI}`);
  const program = join(home, 'bin/aws');
  if (existsSync(program)) return program;
  const made = spawnSync('python3', ['-m', 'venv', home]).status === 0;
  const pip = ['install', '--quiet', '--disable-pip-version-check', `awscli==${AWS_CLI}`];
  return made && spawnSync(join(home, 'bin/pip'), pip).status === 0 ? program : null;
}
