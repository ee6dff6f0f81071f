import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { POINTER } from '../../../config/settings/outputs';
import { makeDirectory } from '../../../workspace/make-directory';
import { assertNoSymlinkInPath } from '../../../workspace/no-symlinks';
import type { StoredFile } from '../../record/file-lists';
import type { RunRecord } from '../../record/record';
import { blockedBy, blockedProblem, filesAt, removeFiles, type Blocking } from './blocking';
import { COLLECTED, type CollectedContent, type CollectedFiles } from './collected';
import { moveIntoPlace } from './move-into-place';
import type { Standing } from './standing';

/** Files that are complete in a directory beside the project's own, and are to take their places. */
export interface StagedArtifacts {
  /** Absolute: holds the files under their paths. */
  stage: string;
  /** The project's directory, absolute. */
  root: string;
  /** Of the staged files. */
  paths: readonly string[];
  /** What stood there before they were fetched. */
  standing: Standing;
  /** What must be removed first. */
  blocking: Blocking;
  /** What an earlier collection brought. */
  collected: CollectedFiles;
  run: RunRecord;
  /** All artifacts of the run, for the record of what was collected. */
  artifacts: readonly StoredFile[];
}

/**
 * Puts the staged files in place: the record changes, then each file is renamed in. Other files stay.
 * @returns the paths of those that were not put in place: what stands there was changed since it was looked at.
 */
export function switchIn(staged: StagedArtifacts): string[] {
  const { stage, root, paths, standing, collected } = staged;
  const left = new Set(paths.filter((path) => standing.hasChanged(path)));
  removeBlocking(staged);
  for (const path of [...paths, COLLECTED]) {
    const inTheWay = blockedBy(root, path);
    if (inTheWay === null) continue;
    if (path === COLLECTED) throw blockedProblem(root, path, inTheWay);
    left.add(path);
  }
  // Before the files: after a kill in between, the next collection or pull knows each as one that was brought, by this
  // collection or by the one before it.
  const replaced = paths.flatMap((path) =>
    (collected.contents.get(path) ?? []).map((content) => ({ path, ...content })),
  );
  writeCollected(staged, replaced);
  for (const path of paths) {
    assertNoSymlinkInPath(root, dirname(path));
    if (standing.hasChanged(path)) left.add(path);
    if (left.has(path)) continue;
    makeDirectory(dirname(join(root, path)));
    moveIntoPlace(join(stage, path), join(root, path));
    standing.renew(path);
  }
  if (replaced.length > 0) writeCollected(staged);
  return [...left];
}

/** Removes what is in the way, unless it was changed meanwhile. */
function removeBlocking({ root, blocking, standing }: StagedArtifacts): void {
  for (const [path, known] of blocking) {
    assertNoSymlinkInPath(root, dirname(path));
    const files = filesAt(root, path);
    if (files.some((file) => !known.includes(file) || standing.hasChanged(file))) continue;
    removeFiles(root, path, files);
    for (const each of [path, ...files]) standing.renew(each);
  }
}

/**
 * Writes down what this collection brings; nothing where git tracks the file that says it.
 * @param before the contents that an earlier one brought, while files may still have them.
 */
function writeCollected(
  { stage, root, paths, run, artifacts, collected: { isTracked } }: StagedArtifacts,
  before?: CollectedContent[],
): void {
  if (isTracked) return;
  const { id, snapshot, exitCode, startedAt, endedAt } = run;
  const collected = {
    run: id,
    snapshot,
    exitCode,
    startedAt,
    endedAt,
    files: [...paths].sort(),
    artifacts: artifacts.map(({ path, size, sha256 }) => ({ path, size, sha256 })),
    before,
  };
  const file = join(stage, POINTER);
  writeFileSync(file, `${JSON.stringify(collected, null, 2)}\n`);
  makeDirectory(join(root, dirname(COLLECTED)));
  moveIntoPlace(file, join(root, COLLECTED));
}
