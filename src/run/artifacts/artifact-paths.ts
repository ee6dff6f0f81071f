import { Problem } from '../../report/problem';
import { printablePath } from '../../report/terminal-text';
import { formatSize } from '../../report/units';
import type { Artifact } from './write/artifact';

/** Directories in each other: an instance saves no more than 200. */
const MAX_ARTIFACT_DEPTH = 256;
/** Characters of the paths of all directories of a list. */
const MAX_DIRECTORIES_LENGTH = 64 * 1024 * 1024;

/**
 * Refuses a list that no instance makes: a path outside the project, with `..` in it, a file that is there twice or is a
 * directory as well, directories without end. The instance is not believed.
 * @throws Problem that names the first offender; nothing has been written by then.
 */
export function assertArtifactList(artifacts: readonly Artifact[]): void {
  const files = new Set<string>();
  const directories = new Set<string>();
  let characters = 0;
  for (const { path } of artifacts) {
    if (!isInside(path)) throw unsafe(`${printablePath(path)} is not inside the project`);
    if (files.has(path)) throw unsafe(`${printablePath(path)} is listed twice`);
    files.add(path);
    if (path.split('/').length > MAX_ARTIFACT_DEPTH)
      throw unsafe(`${printablePath(path.slice(0, 200))}… is nested too deeply`);
    // Where a directory is known, those above it are.
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
      const directory = path.slice(0, end);
      if (directories.has(directory)) break;
      directories.add(directory);
      characters += directory.length;
      if (characters > MAX_DIRECTORIES_LENGTH) throw unsafe('it has too many directories');
    }
  }
  for (const path of files) if (directories.has(path)) throw unsafe(`${printablePath(path)} is a file and a directory`);
}

/** @throws Problem that names the largest. */
export function assertArtifactSize(artifacts: readonly Artifact[], maxSize: number): void {
  const total = artifacts.reduce((sum, { size }) => sum + size, 0);
  if (total > maxSize) {
    const largest = [...artifacts].sort((a, b) => b.size - a.size).slice(0, 5);
    throw new Problem(
      'ARTIFACTS_TOO_LARGE',
      `The artifacts are ${formatSize(total)}, more than "train.maxArtifactSize" (${formatSize(maxSize)}).`,
      {
        next: `The largest:\n${largest.map(({ path, size }) => `  ${formatSize(size)}  ${printablePath(path)}`).join('\n')}\nRaise the limit, or choose fewer files with "train.outputs".`,
      },
    );
  }
}

function isInside(path: string): boolean {
  // A surrogate without its pair becomes another character in the name of a file.
  if (/\p{Surrogate}/u.test(path)) return false;
  if (path.includes('\0') || (path.includes('\\') && process.platform === 'win32')) return false;
  return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

function unsafe(why: string): Problem {
  return new Problem('ARTIFACT_UNSAFE', `The list of artifacts is not valid: ${why}.`, {
    next: 'Nothing was written. Another program may be writing to this prefix of the bucket.',
  });
}
