import { join, posix } from 'node:path';
import type { EnvironmentTool } from '../command/plan';
import type { FoundEnvironment } from '../config/environment/environment';
import { downloadSize, type DownloadSize } from '../config/environment/lock-size';
import { requirementsFiles, requirementsIndexes } from '../config/environment/included-files';
import { readText } from '../config/syntax/read-text';
import type { Configuration } from '../config/settings/types';

/** What the set-up of a run needs of an instance, as far as it is known before. */
export interface EnvironmentNeeds {
  tool: EnvironmentTool;
  /** Null: not known. */
  download: DownloadSize | null;
}

/** Variables by which a set-up may find uv, or fetch it, elsewhere than the instance would be asked for it. */
const OWN = /^(?:path|(?:uv|pip)_.*|.*_proxy|ssl_cert.*)$/i;

/** What sets an environment up. */
export function environmentTool(
  { environment: { manager, locked, root, file }, files }: FoundEnvironment,
  { installer, packageIndex: index }: Configuration['train'],
  workspaceRoot: string,
): EnvironmentTool {
  const read = (path: string) => readText(join(workspaceRoot, path));
  const exists = (path: string) => files.includes(path);
  const requirements = manager === 'pip' ? requirementsFiles(posix.join(root, file), { exists, read }) : [];
  const indexes = [...new Set(requirements.flatMap((path) => requirementsIndexes(read(path))))];
  return { manager, installer, locked, packageIndex: index ?? null, packageIndexes: indexes };
}

/** Whether the command that names the tool must stay out of the command history: the URL of an index may hold a password. */
export function isConfidential({ packageIndex: index, packageIndexes: indexes }: EnvironmentTool): boolean {
  return index !== null || indexes.length > 0;
}

/** Null where the lines of `train.setup`, or nothing, set the environment up. */
export function environmentNeeds(
  found: FoundEnvironment,
  train: Configuration['train'],
  workspaceRoot: string,
): EnvironmentNeeds | null {
  const { environment, files } = found;
  if (train.setup !== null || environment.manager === 'none') return null;
  const lock =
    environment.manager === 'uv' && environment.locked ? files.find((path) => /(^|\/)uv\.lock$/.test(path)) : null;
  const member = lock && posix.relative(posix.dirname(lock), environment.root || '.');
  return {
    tool: environmentTool(found, train, workspaceRoot),
    download: lock ? downloadSize(readText(join(workspaceRoot, lock)), member ?? '') : null,
  };
}

const PATH = /^path$/i;

/** Whether an instance can lack the tool: any that trains has Python, and has uv fetch poetry in the version of its lock file. */
export function mayLackTool(
  { manager, installer, locked }: EnvironmentTool,
  variables: Readonly<Record<string, string>>,
): boolean {
  const own = manager === 'conda' || manager === 'poetry' ? PATH : OWN;
  if (Object.keys(variables).some((name) => own.test(name))) return false;
  return (
    manager === 'conda' ||
    manager === 'uv' ||
    (manager === 'poetry' && !locked) ||
    (manager === 'pip' && installer === 'uv')
  );
}
