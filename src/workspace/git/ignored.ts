import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join, posix, relative, resolve, sep } from 'node:path';
import { nearestDirectory, runGit } from './run-git';

/**
 * Of paths below a directory, those that tools may find: Nx in a workspace, git in a repository. A path is hidden where
 * a .gitignore of the workspace ignores it, and no .nxignore may bring it back.
 * @param directory absolute; need not exist.
 * @param paths relative to it, with slashes.
 * @throws Problem `GIT_FAILED`
 */
export function visibleToTools(directory: string, paths: readonly string[]): Set<string> {
  if (paths.length === 0) return new Set();
  const base = nearestDirectory(directory);
  const workspace = workspaceAbove(base);
  const top = workTreeAbove(base);
  if (top === null) return new Set(workspace === null ? [] : paths);
  if (workspace !== null && hasReincluding(workspace, directory, paths)) return new Set(paths);
  const below = relative(base, directory).split(sep).join('/');
  // A path that begins with a colon must not be read as a pattern.
  const asked = paths.map((path) => `./${posix.join(below, path)}`);
  // 1: git ignores none of them.
  // Nx compares the case of names, whatever git is configured to do.
  const answer = runGit(base, ['-c', 'core.ignoreCase=false', 'check-ignore', '-z', '-v', '-n', '--stdin'], {
    input: asked.map((path) => `${path}\0`).join(''),
    codes: [0, 1],
  })!;
  const fields = answer.split('\0');
  const visible = new Set(paths);
  asked.forEach((_, at) => {
    const [source, , pattern] = fields.slice(at * 4, at * 4 + 3);
    if (!source || pattern.startsWith('!')) return;
    // Nx knows neither git's own list of what is ignored nor the user's.
    const file = resolve(top, source);
    const isInWorkspace = workspace === null || !relative(workspace, file).startsWith('..');
    if (workspace === null || (posix.basename(source) === '.gitignore' && isInWorkspace)) visible.delete(paths[at]);
  });
  return visible;
}

/**
 * Of directories below a directory, those in which tools may find files: git or Nx does not ignore all that is in them. A
 * file that is ignored by its own name, as `.env` and `node_modules` are, is read by the tools that look for it there.
 * @param directories relative to it, with a slash at their end; '' is the directory itself.
 * @throws Problem `GIT_FAILED`
 */
export function visibleDirectories(directory: string, directories: Iterable<string>): Set<string> {
  // No pattern was written for this name.
  const name = `nx-ec2-${randomBytes(12).toString('hex')}`;
  const all = [...new Set(directories)];
  const visible = visibleToTools(
    directory,
    all.map((each) => each + name),
  );
  return new Set(all.filter((each) => visible.has(each + name)));
}

/**
 * Whether a directory lies in no workspace of Nx and in no repository of git.
 * @throws Problem `GIT_FAILED`
 */
export function isOrdinaryDirectory(directory: string): boolean {
  return workspaceAbove(directory) === null && runGit(nearestDirectory(directory), ['rev-parse', '--git-dir']) === null;
}

/** The Nx workspace that a directory lies in, without links; null where it lies in none. */
export function workspaceAbove(directory: string): string | null {
  for (let at = realpathSync(nearestDirectory(directory)); ; at = dirname(at)) {
    if (existsSync(join(at, 'nx.json'))) return at;
    if (at === dirname(at)) return null;
  }
}

/**
 * The working tree of git that a directory lies in, without links; null where it lies in none: in no repository, or
 * beside the working trees of a bare one.
 * @throws Problem `GIT_FAILED`
 */
export function workTreeAbove(directory: string): string | null {
  const base = nearestDirectory(directory);
  if (runGit(base, ['rev-parse', '--is-bare-repository'])?.trim() !== 'false') return null;
  return runGit(base, ['rev-parse', '--show-toplevel'])?.replace(/\n$/, '') ?? null;
}

/** Whether a .nxignore on the way to a path has a pattern that brings back what a .gitignore ignores. */
function hasReincluding(workspace: string, directory: string, paths: readonly string[]): boolean {
  const places = new Set<string>();
  for (const path of paths) {
    for (let at = dirname(join(directory, path)); !places.has(at); at = dirname(at)) {
      places.add(at);
      if (at === workspace || at === dirname(at)) break;
    }
  }
  places.add(workspace);
  return [...places].some((place) => {
    const file = join(place, '.nxignore');
    return existsSync(file) && /^\s*!/m.test(readFileSync(file, 'utf8'));
  });
}
