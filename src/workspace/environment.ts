import { join, posix } from 'node:path';
import type { EnvironmentManager } from './environment-manager';
import { readText } from '../config/read-text';
import { Problem } from '../report/problem';

export interface PythonEnvironment {
  manager: EnvironmentManager;
  /** Workspace-relative directory of the manifest; '' is the workspace's root. */
  root: string;
  file: string;
  locked: boolean;
}

interface Input {
  workspaceRoot: string;
  projectRoot: string;
  /** What is sent: nothing else counts. */
  paths: readonly string[];
  environment: EnvironmentManager | 'auto';
}

/** Which tool a project's Python environment is made with: the nearest manifest from the project up to the workspace's root. */
export async function detectEnvironment({
  workspaceRoot,
  projectRoot,
  paths,
  environment,
}: Input): Promise<PythonEnvironment> {
  const none = { manager: 'none' as const, root: projectRoot, file: '', locked: false };
  if (environment === 'none') return none;
  const sent = new Set(paths);
  const own = projectRoot === '.' ? '' : projectRoot;
  for (let at = own; ; at = posix.dirname(at) === '.' ? '' : posix.dirname(at)) {
    const has = (name: string) => sent.has(posix.join(at, name));
    const above = (name: string) => upwards(at).some((directory) => sent.has(posix.join(directory, name)));
    if (has('uv.lock') && has('poetry.lock')) {
      throw new Problem('ENVIRONMENT_AMBIGUOUS', `${posix.join(at, 'uv.lock')} and poetry.lock are both there.`, {
        next: 'Remove one, or set "train.environment".',
      });
    }
    const wants = (manager: EnvironmentManager) => environment === 'auto' || environment === manager;
    if (has('pyproject.toml')) {
      const toml = await readToml(join(workspaceRoot, at, 'pyproject.toml'), posix.join(at, 'pyproject.toml'));
      const tool = (toml.tool ?? {}) as Record<string, unknown>;
      if (wants('poetry') && (has('poetry.lock') || tool.poetry))
        return { manager: 'poetry', root: at, file: 'pyproject.toml', locked: has('poetry.lock') };
      if (wants('uv') && (has('uv.lock') || tool.uv || toml.project))
        return { manager: 'uv', root: at, file: 'pyproject.toml', locked: above('uv.lock') };
    }
    if (wants('conda') && has('environment.yml'))
      return { manager: 'conda', root: at, file: 'environment.yml', locked: false };
    if (wants('pip') && has('requirements.txt'))
      return { manager: 'pip', root: at, file: 'requirements.txt', locked: false };
    if (at === '') break;
  }
  if (environment !== 'auto') {
    throw new Problem(
      'ENVIRONMENT_MISSING',
      `"train.environment" is ${environment}, but no manifest of it is among the files that are sent.`,
    );
  }
  return none;
}

/** A directory and those that it lies in, up to the workspace's root. */
function upwards(directory: string): string[] {
  const parts = directory === '' ? [] : directory.split('/');
  return parts.map((_, n) => parts.slice(0, parts.length - n).join('/')).concat('');
}

async function readToml(path: string, name: string): Promise<Record<string, unknown>> {
  const { parse } = await import('smol-toml');
  try {
    return parse(readText(path));
  } catch (error) {
    throw new Problem('TOML', `${name} can't be read: ${(error as Error).message}`);
  }
}
