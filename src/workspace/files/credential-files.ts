import { lstatSync, realpathSync } from 'node:fs';
import { join, posix, relative } from 'node:path';
import { enforceCredentialPolicy, isCredentialPath } from '../../config/policy';
import type { Included } from './included';

/**
 * Applies the rule for credential files to all paths that are about to be sent, whatever has named them. Neither a pattern
 * nor a line of a requirements file shows which file it names: escapes, or a directory that is a link, can lead to one.
 * A path that leads to one through a link is left out, unless a pattern of `sync.include` has named it.
 * @param included the paths that patterns of `sync.include` named.
 * @throws Problem `POLICY` where a pattern has named a credential file, and these are not sent.
 */
export function applyCredentialRule(
  project: { workspaceRoot: string; projectRoot: string },
  { paths, emptyDirectories, leftOut }: Pick<Included, 'paths' | 'emptyDirectories' | 'leftOut'>,
  included: ReadonlySet<string>,
): void {
  const realDirectory = realDirectories(project.workspaceRoot);
  // A policy that allows one allows all.
  let isAllowed = false;
  const enforce = (path: string) => {
    if (!isAllowed) enforceCredentialPolicy(path, project);
    isAllowed = true;
  };
  for (const path of [...paths, ...emptyDirectories]) {
    if (isCredentialPath(path)) enforce(path);
    const directory = realDirectory(posix.dirname(path));
    if (!isCredentialPath(directory)) continue;
    if (included.has(path)) enforce(`${path} (${join(directory, posix.basename(path))})`);
    else if (paths.delete(path)) leftOut.push({ path, why: 'may hold secrets' });
  }
}

/** Workspace-relative directories without links; a directory that disappeared is its own. */
function realDirectories(workspaceRoot: string): (directory: string) => string {
  const root = realpathSync.native(workspaceRoot);
  const known = new Map([['.', '']]);
  const realOf = (directory: string): string => {
    let real = known.get(directory);
    if (real === undefined) known.set(directory, (real = resolve(directory)));
    return real;
  };
  const resolve = (directory: string): string => {
    const parent = realOf(posix.dirname(directory));
    const at = join(root, directory);
    try {
      if (lstatSync(at).isSymbolicLink()) return relative(root, realpathSync.native(at));
    } catch {
      // The scan reports it.
    }
    return posix.join(parent, posix.basename(directory));
  };
  return realOf;
}
