import { lookUp } from '../look-up';
import { join } from 'node:path';
import { linkTarget } from '../git/git-files';
import { printablePath, sanitizeForTerminal } from '../../report/terminal-text';

/** Warnings of links that lead nowhere on the instance. */
export function danglingLinks(workspaceRoot: string, paths: ReadonlySet<string>, links: readonly string[]): string[] {
  return links.flatMap((path) => {
    if (!paths.has(path) || !lookUp(join(workspaceRoot, path))?.isSymbolicLink()) return [];
    const target = linkTarget(workspaceRoot, path);
    if (target === '.' || [...paths].some((each) => each === target || each.startsWith(`${target}/`))) return [];
    const link = `the symbolic link ${printablePath(path)} leads to ${printablePath(target)}, which`;
    if (!lookUp(join(workspaceRoot, target))) return `${link} does not exist`;
    return `${link} is not sent: add ${sanitizeForTerminal(`{workspaceRoot}/${target}`)} to "sync.include"`;
  });
}
