import { relative, sep } from 'node:path';
import { nearestDirectory, runGit } from './run-git';

/**
 * The files below a directory that git tracks, relative to it, whichever repository (a submodule's too) the directory
 * is in; empty where it is in none.
 * @param directory absolute; need not exist.
 * @throws Problem `GIT_FAILED`
 */
export function trackedFiles(directory: string): Set<string> {
  const base = nearestDirectory(directory);
  const below = relative(base, directory).split(sep).join('/');
  const listed = runGit(base, ['--literal-pathspecs', 'ls-files', '-z', '--', below === '' ? '.' : below]) ?? '';
  const paths = listed.split('\0').filter(Boolean);
  return new Set(
    below === ''
      ? paths
      : paths.filter((path) => path.startsWith(`${below}/`)).map((path) => path.slice(below.length + 1)),
  );
}
