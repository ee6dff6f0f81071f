import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/**
 * Where this machine remembers what saves time, and nothing else: hashes of files, heads of trees, packs in the store.
 * It can be removed at any time. `NX_EC2_CACHE_DIRECTORY` names another place.
 */
export function machineState(): string {
  const { NX_EC2_CACHE_DIRECTORY: own, XDG_CACHE_HOME: cache } = process.env;
  return own ? resolve(own) : join(cache || join(home(), '.cache'), 'nx-ec2');
}

/** Where what a scan of a project's files has read is remembered; without an ending. */
export function scanCache(workspaceRoot: string, project: string): string {
  return join(stateDirectory(workspaceRoot), 'scans', encodeURIComponent(project));
}

/** A user without an entry and without HOME, as in some containers, has none: then nothing is remembered. */
function home(): string {
  try {
    return homedir();
  } catch {
    return '/nonexistent';
  }
}

/** The same for one workspace. */
export function stateDirectory(workspaceRoot: string): string {
  const name = createHash('sha256').update(realpathSync(workspaceRoot)).digest('hex').slice(0, 16);
  return join(machineState(), 'workspaces', name);
}
