import { readdirSync } from 'node:fs';
import { join, posix, relative, sep } from 'node:path';
import { nearestDirectory, runGit } from './run-git';

/** The mode of a submodule among the files of a repository. */
const SUBMODULE = '160000 ';

/**
 * The files below a directory that git tracks, relative to it: by the repository (a submodule's too) that the directory
 * is in, and by repositories that lie below it.
 * @param directory absolute; need not exist.
 * @throws Problem `GIT_FAILED`
 */
export function trackedFiles(directory: string): Set<string> {
  const base = nearestDirectory(directory);
  const below = relative(base, directory).split(sep).join('/');
  const listed = runGit(base, ['--literal-pathspecs', 'ls-files', '-sz', '--', below === '' ? '.' : below]) ?? '';
  // A submodule is listed as if it were a file; its own files are listed below.
  const entries = listed.split('\0').filter((entry) => entry && !entry.startsWith(SUBMODULE));
  const paths = entries.map((entry) => entry.slice(entry.indexOf('\t') + 1));
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

/**
 * The files below a directory that exists, relative to it, that its repository tracks and that are not as they were
 * committed or staged; removed ones are among them.
 * @throws Problem `GIT_FAILED`
 */
export function editedTrackedFiles(directory: string): Set<string> {
  // Not "git diff": where git may not read the repository, that compares files without one.
  const listed = runGit(directory, ['--literal-pathspecs', 'ls-files', '-mdz', '--', '.']) ?? '';
  return new Set(listed.split('\0').filter((path) => path !== ''));
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
