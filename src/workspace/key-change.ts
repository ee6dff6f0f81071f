import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { readCache, writeCache } from '../system/cache-file';
import { stateDirectory } from './state';

/**
 * Makes the cache key of a project's training another one from now on: `--rerun` starts a new run each time, whose result
 * replaces those that Nx has cached.
 */
export function changeKey(workspaceRoot: string, projectRoot: string): void {
  writeCache(changeFile(workspaceRoot, projectRoot), randomBytes(8).toString('hex'));
}

/** What `changeKey` made part of the key; null: it was never called. */
export function keyChange(workspaceRoot: string, projectRoot: string): string | null {
  return readCache(
    changeFile(workspaceRoot, projectRoot),
    (bytes) => /^[0-9a-f]{16}$/.exec(bytes.toString())?.[0] ?? null,
  );
}

function changeFile(workspaceRoot: string, projectRoot: string): string {
  return join(stateDirectory(workspaceRoot), 'reruns', encodeURIComponent(projectRoot));
}
