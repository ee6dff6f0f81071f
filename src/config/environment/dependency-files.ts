import { posix } from 'node:path';
import type { EnvironmentManager } from './environment-manager';

export interface ReadFiles {
  /** Whether a workspace-relative path is a file that counts. */
  exists(path: string): boolean;
  /** The text of a file; '' where it does not count. */
  read(path: string): string;
  /** Called for a file that can't be parsed; without it, such a file counts as empty. */
  onInvalid?(path: string, error: Error): void;
}

/** A file from which an environment can be made. */
export interface DependencyFile {
  manager: Exclude<EnvironmentManager, 'none'> | 'unsupported';
  /** Workspace-relative directory; '' is the workspace's root. */
  root: string;
  file: string;
  /** The path of its lock file. */
  lock: string | null;
  /** Paths of files that belong to it: for example the dependency file of its workspace. */
  more: string[];
  unsupported?: UnsupportedTool;
}

export interface UnsupportedTool {
  tool: 'pdm' | 'pixi' | 'hatch';
  setUp: string;
  run: string;
}

export const CONDA_FILES = ['environment.yml', 'environment.yaml', 'conda.yaml', 'conda.yml'];

const PDM: UnsupportedTool = { tool: 'pdm', setUp: 'pdm sync', run: 'pdm run' };
const PIXI: UnsupportedTool = { tool: 'pixi', setUp: 'pixi install', run: 'pixi run' };
const HATCH: UnsupportedTool = { tool: 'hatch', setUp: 'hatch env create', run: 'hatch run' };

type Table = Record<string, unknown>;

/** The dependency files of a directory, in order of precedence. */
export function dependencyFilesIn(root: string, files: ReadFiles): DependencyFile[] {
  const at = (name: string) => posix.join(root, name);
  const has = (name: string) => files.exists(at(name));
  const found: DependencyFile[] = [];
  const add = (manager: DependencyFile['manager'], file: string, rest: Partial<DependencyFile> = {}) =>
    found.push({ manager, root, file, lock: null, more: [], ...rest });
  const toml = has('pyproject.toml') ? tableOf(at('pyproject.toml'), files) : null;
  const tool = table(toml?.tool);
  const unsupported = unsupportedTool(tool, has);
  if (toml && (has('poetry.lock') || tool.poetry))
    add('poetry', 'pyproject.toml', { lock: has('poetry.lock') ? at('poetry.lock') : null });
  if (unsupported && !has('poetry.lock') && !has('uv.lock')) {
    const file = ['pixi.toml', 'pyproject.toml'].find(has);
    const more = ['pixi.lock', 'pixi.toml', 'pdm.lock', 'pyproject.toml'].filter(has).map(at);
    if (file) add('unsupported', file, { more, unsupported });
  }
  if (toml && (has('uv.lock') || tool.uv || toml.project)) add('uv', 'pyproject.toml', uvWorkspace(root, files));
  for (const name of CONDA_FILES) if (has(name)) add('conda', name);
  if (has('requirements.txt')) add('pip', 'requirements.txt');
  return found;
}

/** A directory and those above it, up to the workspace's root. */
export function directoriesUp(directory: string): string[] {
  const parts = directory === '' ? [] : directory.split('/');
  return parts.map((_, n) => parts.slice(0, parts.length - n).join('/')).concat('');
}

/** The lock of a project of uv and the dependency file of the uv workspace that it is a member of: the nearest ones. */
function uvWorkspace(root: string, files: ReadFiles): Pick<DependencyFile, 'lock' | 'more'> {
  const up = directoriesUp(root);
  const lock = up.map((directory) => posix.join(directory, 'uv.lock')).find(files.exists) ?? null;
  const pyprojects = up.map((directory) => posix.join(directory, 'pyproject.toml')).filter(files.exists);
  const isRoot = (path: string) => table(table(tableOf(path, files).tool).uv).workspace !== undefined;
  const beside = lock === null ? [] : [posix.join(posix.dirname(lock), 'pyproject.toml')].filter(files.exists);
  return { lock, more: [...beside, ...pyprojects.filter(isRoot).slice(0, 1)] };
}

/** The build tables of these tools alone say nothing of an environment: uv installs such a project as well. */
function unsupportedTool(tool: Table, has: (name: string) => boolean): UnsupportedTool | null {
  if (has('pdm.lock')) return PDM;
  if (has('pixi.lock') || has('pixi.toml') || tool.pixi) return PIXI;
  return table(table(tool.hatch).envs).default ? HATCH : null;
}

function tableOf(path: string, { read, onInvalid }: ReadFiles): Table {
  try {
    // Loaded where there is such a file: the plugin is loaded by every nx command.
    // eslint-disable-next-line @typescript-eslint/no-require-imports
    const { parse } = require('smol-toml') as { parse(text: string): Table };
    return parse(read(path));
  } catch (error) {
    onInvalid?.(path, error as Error);
    return {};
  }
}

function table(value: unknown): Table {
  return typeof value === 'object' && value !== null ? (value as Table) : {};
}
