import { readdirSync } from 'node:fs';
import { join, posix, relative, sep } from 'node:path';
import { nearestDirectory, runGit } from './run-git';

/**
 * The files below a directory that git tracks, relative to it: by the repository (a submodule's too) that the directory
 * is in, and by repositories that lie below it.
 * @param directory absolute; need not exist.
 * @throws Problem `GIT_FAILED`
 */
export function trackedFiles(directory: string): Set<string> {
  const base = nearestDirectory(directory);
  const below = relative(base, directory).split(sep).join('/');
  const listed = runGit(base, ['--literal-pathspecs', 'ls-files', '-z', '--', below === '' ? '.' : below]) ?? '';
  const paths = listed.split('\0').filter(Boolean);
  const tracked = new Set(
    below === ''
      ? paths
      : paths.filter((path) => path.startsWith(`${below}/`)).map((path) => path.slice(below.length + 1)),
  );
  for (const nested of nestedRepositories(directory, '')) {
    for (const path of trackedFiles(join(directory, nested))) tracked.add(posix.join(nested, path));
  }
  return tracked;
}

/** The outermost directories below one, relative to it, that are the root of a repository of their own. */
function nestedRepositories(directory: string, below: string): string[] {
  let entries;
  try {
    entries = readdirSync(join(directory, below), { withFileTypes: true });
  } catch {
    return [];
  }
  if (below !== '' && entries.some(({ name }) => name === '.git')) return [below];
  return entries
    .filter((entry) => entry.isDirectory() && entry.name !== '.git')
    .flatMap(({ name }) => nestedRepositories(directory, posix.join(below, name)));
}
