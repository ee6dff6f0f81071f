import { join } from 'node:path';
import { Problem } from '../../report/problem';
import { printablePath } from '../../report/terminal-text';
import { formatSize } from '../../report/units';
import { isOrdinaryDirectory, visibleDirectories, visibleToTools } from '../../workspace/ignored';
import { lookUp } from '../../workspace/look-up';
import { probeFolding, type FoldNames } from '../../workspace/name-folding';
import { nearestDirectory } from '../../workspace/run-git';
import { bareRepositoryFiles, foldName, toolFile } from '../../workspace/tool-files';
import { trackedFiles } from '../../workspace/tracked';
import { UNFINISHED } from './download-file';
import { POINTER } from '../../config/outputs';
import { hasContent } from './same-content';
import { isTooLong } from './path-limits';
import { parentsOf, Names } from './names';
import { editedSince } from './edited-since';
import type { Artifact, Target, Screened } from './artifact';

/** Directories in each other: an instance saves no more than 200. */
const MAX_ARTIFACT_DEPTH = 256;
/** Characters of the paths of all directories of a list. */
const DIRECTORIES = 64 * 1024 * 1024;

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
      if (characters > DIRECTORIES) throw unsafe('it has too many directories');
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

/**
 * Decides for each artifact whether it may be written where it belongs. Only the offenders are held back: names that
 * programs here act on, names that this plugin uses, names that are one here, files that were edited since they were
 * sent, and files that git tracks, unless the run changed one that was sent and is here as it was sent.
 * @throws Problem `GIT_FAILED`
 */
export async function screenArtifacts<T extends Artifact>(
  artifacts: readonly T[],
  { output, sent, named = new Set(), takesEdited = false }: Target,
  fold: FoldNames = probeFolding(nearestDirectory(output)),
): Promise<Screened<T>> {
  const tracked = new Set([...trackedFiles(output)].map(fold));
  const screened: Screened<T> = { accepted: [], unchanged: [], heldBack: [], ignored: [], fold, tracked };
  const hold = ({ path }: Artifact, why: string) => void screened.heldBack.push({ path, why });

  const isPlain = isOrdinaryDirectory(output);
  const isWanted = ({ path }: Artifact) => isPlain && named.has(path);

  const fitting = artifacts.filter((file) => {
    const fits = !isTooLong(output, file.path);
    if (!fits) hold(file, 'its path is too long here');
    return fits;
  });
  const linked = linkedDirectories(output);
  const reserved = fitting.filter((file) => {
    const link = linked(file.path);
    if (link !== null) hold(file, `${link} is a symbolic link here`);
    else if (isReserved(file.path) && !isWanted(file)) hold(file, 'nx-ec2 uses names of this form itself');
    else return true;
    return false;
  });
  const repository = bareRepositoryFiles(
    fitting.map(({ path }) => path),
    (path) => lookUp(join(output, path)) !== null,
  );
  const found = reserved.map((file) => {
    const { path } = file;
    const acts = repository.has(path)
      ? { why: 'it would make its directory a git repository', always: true, directory: '' }
      : toolFile(path);
    return { file, path, acts };
  });
  const acting = found.flatMap(({ acts, path }) => (acts && !acts.always ? [{ path, directory: acts.directory }] : []));
  const visible = visibleToTools(
    output,
    acting.map(({ path }) => path),
  );
  const open = visibleDirectories(
    output,
    acting.map(({ directory }) => directory),
  );
  const directories = new Set([...tracked].flatMap(parentsOf));
  const names = new Names(fold);
  for (const { file, path, acts } of found) {
    if (acts?.always && !isWanted(file)) {
      hold(file, acts.why);
      continue;
    }
    if (acts?.searched && !isPlain) {
      hold(file, `${acts.why}, in directories that git ignores as well`);
      continue;
    }
    if (acts && !acts.always && (visible.has(path) || open.has(acts.directory))) {
      hold(file, `${acts.why}, and the directory is not ignored by git and Nx`);
      continue;
    }
    const twin = names.add(path);
    if (twin !== null) {
      hold(
        file,
        twin === path
          ? 'another file of the run has this path'
          : `${printablePath(twin)} is the same name on this file system`,
      );
      continue;
    }
    const blocked = parentsOf(path).find((parent) => tracked.has(fold(parent)));
    if (blocked !== undefined) {
      hold(file, `git tracks the file ${printablePath(blocked)}, which is in the way`);
      continue;
    }
    if (directories.has(fold(path))) {
      hold(file, 'git tracks files in the directory that is here');
      continue;
    }
    if (tracked.has(fold(path))) {
      const here = join(output, path);
      if (await hasContent(here, file)) {
        screened.unchanged.push(file);
        continue;
      }
      const was = file.sentAs === undefined ? null : await sent.contentOf(file.sentAs, fold);
      if (was === null) {
        hold(file, 'git tracks the file that is here');
        continue;
      }
      if (was === undefined || !(await hasContent(here, was))) {
        hold(file, `git tracks the file that is here, and it is not ${was ? '' : 'known to be '}the one that was sent`);
        continue;
      }
    }
    if (!takesEdited) {
      const why = await editedSince(output, file, sent, fold);
      if (why !== null) {
        hold(file, why);
        continue;
      }
    }
    if (acts && !isPlain) screened.ignored.push(file.path);
    screened.accepted.push(file);
  }
  return screened;
}

/** Whether a path has a part that is named as this plugin names its own files beside artifacts. */
function isReserved(path: string): boolean {
  return path.split('/').some((part) => [POINTER, UNFINISHED].some((ending) => foldName(part).endsWith(ending)));
}

/** Which link, of those that are here, a path would lead through; null: none. */
function linkedDirectories(output: string): (path: string) => string | null {
  const known = new Map<string, boolean>();
  return (path) => {
    const parts = path.split('/');
    for (let depth = 1; depth < parts.length; depth++) {
      const directory = parts.slice(0, depth).join('/');
      let isLink = known.get(directory);
      if (isLink === undefined) {
        isLink = lookUp(join(output, directory))?.isSymbolicLink() ?? false;
        known.set(directory, isLink);
      }
      if (isLink) return directory;
    }
    return null;
  };
}

function isInside(path: string): boolean {
  // A surrogate without its pair becomes another character in the name of a file.
  if (/\p{Surrogate}/u.test(path)) return false;
  if (path.includes('\0') || (path.includes('\\') && process.platform === 'win32')) return false;
  return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

function unsafe(why: string): Problem {
  return new Problem('ARTIFACT_UNSAFE', `The list of artifacts was refused: ${why}.`, {
    next: 'Nothing was written. Another program may be writing to this prefix of the bucket.',
  });
}
