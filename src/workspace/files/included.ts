import type { FoundFiles, FilesInput } from './types';
import { type RootedGlob, globMatcher, rootedGlob, isGlob, globBase } from '../../config/syntax/glob';
import { outputMatcher } from '../../config/settings/outputs';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { isOwnFile } from '../scratch';
import { neverSent } from './never-sent';
import { walk } from './walk';
import { lookUp } from '../look-up';
import { posix, join } from 'node:path';

export interface Included {
  paths: Set<string>;
  emptyDirectories: Set<string>;
  leftOut: FoundFiles['leftOut'];
  warnings: string[];
  /** Files that git tracks travel from outputs, too: trainings did not leave them. */
  take(path: string, isTracked?: boolean): void;
  /** Whether a pattern of `exclude` matches a path. */
  excluded(path: string): boolean;
  /** Patterns of `exclude` that have matched no path so far. */
  unusedExcludes(): RootedGlob[];
}

/** What `sync.include` names, git-ignored or not, and `take`, which decides of any path whether it travels. */
export function findIncluded(
  input: Omit<FilesInput, 'projectGraph' | 'projectName' | 'dependencies' | 'environment'> & { projectRoot: string },
): Included {
  const { workspaceRoot, projectRoot } = input;
  const exclude = globsOf(projectRoot, input.exclude).map((glob) => ({ matches: globMatcher(glob), glob }));
  const unused = new Set(exclude);
  const excluded = (path: string) => {
    // Each is tried: the ones that match nothing are named.
    const matching = exclude.filter(({ matches }) => matches(path));
    for (const each of matching) unused.delete(each);
    return matching.length > 0;
  };
  const isOutput = outputMatcher(projectRoot, input.outputs);
  const leftOut: FoundFiles['leftOut'] = [];
  const paths = new Set<string>();
  const emptyDirectories = new Set<string>();
  const include = input.include.map((written) => {
    const glob = rootedGlob(projectRoot, written);
    if (glob) return includedGlob(workspaceRoot, glob);
    throw new Problem(
      'INCLUDE_OUTSIDE',
      `"sync.include" names ${sanitizeForTerminal(written)}, which is outside the workspace.`,
    );
  });
  const warnings = include.filter(({ written }) => isOwnFile(written)).map(describeOwn);
  const literal = new Set(include.flatMap(({ path }) => (path === null ? [] : [path])));
  const never = neverSent(literal);
  const take = (path: string, isTracked = false) => {
    const why = excluded(path)
      ? 'sync.exclude'
      : !isTracked && isOutput(path)
        ? "the trainings' output"
        : isOwnFile(path)
          ? 'nx-ec2 uses it'
          : never(path);
    if (why) leftOut.push({ path, why });
    else paths.add(path);
  };
  for (const { written, base, matches } of include) {
    const before = paths.size + emptyDirectories.size + leftOut.length;
    walk(workspaceRoot, base, (path, empty) => {
      if (!matches(path)) return;
      if (!empty) take(path);
      else if (!excluded(path) && !isOwnFile(path) && never(path) === null) emptyDirectories.add(path);
    });
    if (paths.size + emptyDirectories.size + leftOut.length === before)
      warnings.push(`"sync.include" matches nothing: ${sanitizeForTerminal(written)}`);
  }
  return {
    paths,
    emptyDirectories,
    leftOut,
    warnings,
    take,
    excluded,
    unusedExcludes: () => [...unused].map(({ glob }) => glob),
  };
}

function describeOwn({ written }: Pick<RootedGlob, 'written'>): string {
  return `"sync.include" names ${sanitizeForTerminal(written)}, which is not sent: nx-ec2 uses it.`;
}

/** The patterns that can match something of the workspace. */
export function globsOf(projectRoot: string, patterns: readonly string[]): RootedGlob[] {
  return patterns.flatMap((written) => rootedGlob(projectRoot, written) ?? []);
}

/** What of `include` is looked for, and where: a path that exists is meant literally, whatever characters it holds. */
export function includedGlob(workspaceRoot: string, glob: RootedGlob) {
  const asPath = posix.join(glob.root, glob.pattern) || '.';
  const exists = lookUp(join(workspaceRoot, asPath)) !== null;
  const { written } = glob;
  if (!exists && isGlob(glob.pattern)) return { written, path: null, base: globBase(glob), matches: globMatcher(glob) };
  const path = exists ? asPath : globBase(glob);
  return {
    written,
    path,
    base: path,
    matches: (each: string) => path === '.' || each === path || each.startsWith(`${path}/`),
  };
}
