import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** The repository: this file runs from .cache/bench/js/bench. */
export const root = join(__dirname, '../../../..');

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
