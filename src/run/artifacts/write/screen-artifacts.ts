import { join } from 'node:path';
import { printablePath } from '../../../report/terminal-text';
import { probeFolding, type FoldNames } from '../../../workspace/name-folding';
import { nearestDirectory } from '../../../workspace/git/run-git';
import { foldName } from '../../../workspace/tool-files';
import { trackedFiles } from '../../../workspace/git/tracked';
import { UNFINISHED } from './download-file';
import { POINTER } from '../../../config/settings/outputs';
import { hasContent } from './same-content';
import { isTooLong } from './path-limits';
import { linkedDirectories } from './linked-directories';
import { parentsOf, Names } from './names';
import { COLLECTED, readCollected } from './collected';
import { editedSince } from './edited-since';
import { ToolNames } from './tool-names';
import type { Artifact, Target, Screened } from './artifact';

/**
 * Decides for each artifact whether it may be written where it belongs. Only the offenders are held back: names that
 * programs here act on, names that this plugin uses, names that are one here, files that were edited since they were
 * sent, and files that git tracks, unless the run changed one that was sent and is here as it was sent.
 * @throws Problem `GIT_FAILED`
 */
export async function screenArtifacts<T extends Artifact>(
  artifacts: readonly T[],
  target: Target,
  fold: FoldNames = probeFolding(nearestDirectory(target.output)),
): Promise<Screened<T>> {
  const { output, named = new Set() } = target;
  const screened = nothingScreened<T>(output, fold);
  const { tracked } = screened;
  const hold = ({ path }: Artifact, why: string) => void screened.heldBack.push({ path, why });
  const without = (files: readonly T[], reason: (file: T) => string | null) =>
    files.filter((file) => {
      const why = reason(file);
      if (why !== null) hold(file, why);
      return why === null;
    });

  const fitting = without(artifacts, ({ path }) =>
    isTooLong(output, path) ? 'its path is too long for this file system' : null,
  );
  const linked = linkedDirectories(output);
  const tools = new ToolNames(output, fitting, named);
  const placeable = without(fitting, ({ path }) => {
    const link = linked(path);
    if (link !== null) {
      screened.changed.add(path);
      return `${link} is a symbolic link on this machine`;
    }
    return isReserved(path) && !tools.isWanted(path) ? 'nx-ec2 uses names of this form itself' : null;
  });
  tools.compareWithIgnored(placeable);
  const trackedDirectories = new Set([...tracked].flatMap(parentsOf));
  const names = new Names(fold);
  for (const file of placeable) {
    const { path } = file;
    const why =
      tools.reason(path) ?? twinReason(names, path) ?? trackedDirectoryReason(path, fold, tracked, trackedDirectories);
    if (why !== null) {
      hold(file, why);
      continue;
    }
    if (tracked.has(fold(path)) && (await hasContent(join(output, path), file))) {
      screened.unchanged.push(file);
      continue;
    }
    const change = await changeReason(file, target, screened);
    if (change !== null) {
      screened.changed.add(path);
      hold(file, change);
      continue;
    }
    if (tools.isActedOn(path) && !tools.isPlain) screened.ignored.push(path);
    screened.accepted.push(file);
  }
  return screened;
}

function nothingScreened<T extends Artifact>(output: string, fold: FoldNames): Screened<T> {
  const tracked = new Set([...trackedFiles(output)].map(fold));
  const collected = readCollected(output, tracked.has(fold(COLLECTED)));
  const [accepted, unchanged]: T[][] = [[], []];
  return { accepted, unchanged, heldBack: [], changed: new Set(), ignored: [], fold, tracked, collected };
}

export function linkReason(directory: string): string {
  return `${printablePath(directory)} is a symbolic link on this machine`;
}

/** Why a path can't be written beside those that were added before; null: it was added. */
function twinReason(names: Names, path: string): string | null {
  const twin = names.add(path);
  if (twin === null) return null;
  return twin === path
    ? 'another file of the run has the same path'
    : `${printablePath(twin)} is the same name on this file system`;
}

/** Why a path can't be written: git tracks a file where it needs a directory, or files where it is to be. */
function trackedDirectoryReason(
  path: string,
  fold: FoldNames,
  tracked: ReadonlySet<string>,
  directories: ReadonlySet<string>,
): string | null {
  const blocked = parentsOf(path).find((parent) => tracked.has(fold(parent)));
  if (blocked !== undefined) return `git tracks the file ${printablePath(blocked)}, which is in its place`;
  return directories.has(fold(path)) ? 'git tracks files in the directory at this path' : null;
}

/** Why the file that is here may not be replaced; null where it may. */
async function changeReason<T extends Artifact>(
  file: T,
  target: Target,
  { tracked, collected, fold }: Screened<T>,
): Promise<string | null> {
  const { output, sent, takesEdited = false } = target;
  const why = tracked.has(fold(file.path)) ? await trackedFileReason(file, target, fold) : null;
  return why !== null || takesEdited ? why : editedSince(output, file, { sent, collected }, fold);
}

/** Why a file that git tracks may not be replaced; null where it is here as it was sent. */
async function trackedFileReason(
  { path, sentAs }: Artifact,
  { output, sent }: Target,
  fold: FoldNames,
): Promise<string | null> {
  const was = sentAs === undefined ? null : await sent.contentOf(sentAs, fold);
  if (was === null) return 'git tracks the file at this path';
  if (was !== undefined && (await hasContent(join(output, path), was))) return null;
  return `git tracks the file at this path, and it is not ${was ? '' : 'known to be '}the one that was sent`;
}

/** Whether a path has a part that is named as this plugin names its own files beside artifacts. */
function isReserved(path: string): boolean {
  return path.split('/').some((part) => [POINTER, UNFINISHED].some((ending) => foldName(part).endsWith(ending)));
}
