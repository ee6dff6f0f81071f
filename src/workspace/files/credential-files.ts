import { realpathSync } from 'node:fs';
import { join, posix, relative } from 'node:path';
import { enforceCredentialPolicy, isCredentialPath } from '../../config/policy';

/**
 * Applies the rule for credential files to the paths that are sent. A pattern does not show which files it names: escapes,
 * or a directory that is a link, can lead to one.
 * @param included the paths that patterns of `sync.include` named; others are not reached through links.
 * @throws Problem `POLICY` where one of them is a credential file, and these are not sent.
 */
export function assertNoCredentialFiles(
  project: { workspaceRoot: string; projectRoot: string },
  paths: readonly string[],
  included: readonly string[],
): void {
  const named = paths.find(isCredentialPath) ?? throughLink(project.workspaceRoot, included);
  if (named !== undefined) enforceCredentialPolicy(named, project);
}

/** The first path that lies in a directory of credentials under another name. */
function throughLink(workspaceRoot: string, paths: readonly string[]): string | undefined {
  const root = realpathSync.native(workspaceRoot);
  const checked = new Set<string>();
  for (const path of paths) {
    const directory = posix.dirname(path);
    if (checked.has(directory)) continue;
    checked.add(directory);
    const real = relative(root, realPath(join(root, directory)) ?? root);
    if (isCredentialPath(real)) return `${path} (${join(real, posix.basename(path))})`;
  }
  return undefined;
}

/** Null for what disappeared since it was listed. */
function realPath(path: string): string | null {
  try {
    return realpathSync.native(path);
  } catch {
    return null;
  }
}
