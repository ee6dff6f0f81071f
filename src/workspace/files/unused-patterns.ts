import type { FilesInput } from './types';
import { type RootedGlob, secretMatcher, globMatcher, globBase } from '../../config/syntax/glob';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { walk } from './walk';

/** A pattern that has matched none of so many files is not searched for further. */
const MAX_LOOKED_AT = 10_000;

/**
 * Warnings of patterns that match nothing. Those that begin with a double star are for whatever may come, and patterns of
 * `exclude` may name what is git-ignored and therefore not listed.
 */
export function unusedPatterns(
  input: FilesInput,
  paths: ReadonlySet<string>,
  excludes: readonly RootedGlob[],
): string[] {
  const { workspaceRoot, projectGraph, projectName } = input;
  const { root } = projectGraph.nodes[projectName].data;
  const isSpecific = (pattern: string) => !pattern.replace('{workspaceRoot}/', '').startsWith('**');
  const excluded = excludes.filter((glob) => isSpecific(glob.written) && !existsAnywhere(workspaceRoot, glob));
  const sensitive = (input.sensitive ?? []).filter((written) => {
    if (!isSpecific(written)) return false;
    const matches = secretMatcher(root, [written]);
    return ![...paths].some(matches);
  });
  return [
    ...excluded.map(({ written }) => `"sync.exclude" matches nothing: ${sanitizeForTerminal(written)}`),
    ...sensitive.map((written) => `"sync.sensitive" matches nothing that is sent: ${sanitizeForTerminal(written)}`),
  ];
}

/** Whether a file or an empty directory on disk matches; so many are looked at that it may be taken as given. */
function existsAnywhere(workspaceRoot: string, glob: RootedGlob): boolean {
  const matches = globMatcher(glob);
  let left = MAX_LOOKED_AT;
  let found = false;
  walk(workspaceRoot, globBase(glob), (path) => {
    if (--left <= 0 || matches(path)) found = true;
    return found;
  });
  return found;
}
