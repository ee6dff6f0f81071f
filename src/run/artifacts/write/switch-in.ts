import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { POINTER } from '../../../config/settings/outputs';
import { Problem } from '../../../report/problem';
import { printablePath } from '../../../report/terminal-text';
import { lookUp } from '../../../workspace/look-up';
import { assertNoSymlinkInPath } from '../../../workspace/no-symlinks';
import type { StoredFile } from '../../record/file-lists';
import type { RunRecord } from '../../record/record';
import { COLLECTED, readCollected, type CollectedContent } from './collected';
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
  run: RunRecord;
  /** All artifacts of the run, for the record of what was collected. */
  artifacts: readonly StoredFile[];
}

/**
 * Puts the staged files in place: the record changes, then each file is renamed in. Other files stay.
 * @returns the paths of those that were not put in place: what stands there was changed since it was looked at.
 */
export function switchIn(staged: StagedArtifacts): string[] {
  const { stage, root, paths, standing } = staged;
  const collected = readCollected(root);
  const blocking = findBlocking(root, paths, new Set(collected.paths));
  const left = new Set(paths.filter((path) => standing.hasChanged(path)));
  for (const path of blocking) {
    rmSync(join(root, path), { recursive: true, force: true });
    standing.renew(path);
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
    mkdirSync(dirname(join(root, path)), { recursive: true });
    renameSync(join(stage, path), join(root, path));
  }
  if (replaced.length > 0) writeCollected(staged);
  return [...left];
}

/**
 * Writes down what this collection brings.
 * @param before the contents that an earlier one brought, while files may still have them.
 */
function writeCollected({ stage, root, paths, run, artifacts }: StagedArtifacts, before?: CollectedContent[]): void {
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
  mkdirSync(join(root, dirname(COLLECTED)), { recursive: true });
  renameSync(file, join(root, COLLECTED));
}

/**
 * What has to give way: directories and files that an earlier collection brought.
 * @throws Problem `ARTIFACT_BLOCKED` where something else is in the way.
 */
function findBlocking(root: string, paths: readonly string[], earlier: ReadonlySet<string>): Set<string> {
  const blocking = new Set<string>();
  for (const path of [...paths, COLLECTED]) {
    assertNoSymlinkInPath(root, dirname(path));
    const inTheWay = blockedBy(root, path);
    if (inTheWay === null) continue;
    // What an earlier collection brought gives way, as it would to the training here.
    if (!isBrought(root, earlier, inTheWay)) {
      throw new Problem(
        'ARTIFACT_BLOCKED',
        `The artifact ${printablePath(path)} can't be written: ${inTheWay === path ? 'a directory' : 'a file'} is at ${printablePath(inTheWay)} in ${root}.`,
        { next: 'Move it away and run the same command again.' },
      );
    }
    blocking.add(inTheWay);
  }
  return blocking;
}

/** What is where a file is to be written: a directory, or a file where one of its directories has to be; null: nothing. */
function blockedBy(root: string, path: string): string | null {
  const parts = path.split('/');
  for (let depth = 1; depth < parts.length; depth++) {
    const parent = parts.slice(0, depth).join('/');
    const stat = lookUp(join(root, parent));
    if (!stat) return null;
    if (!stat.isDirectory()) return parent;
  }
  return lookUp(join(root, path))?.isDirectory() ? path : null;
}

/** Whether a path is, or holds nothing but, what an earlier collection brought. */
function isBrought(root: string, ours: ReadonlySet<string>, path: string): boolean {
  if (ours.has(path)) return true;
  if (!lookUp(join(root, path))?.isDirectory()) return false;
  return readdirSync(join(root, path)).every((name) => isBrought(root, ours, `${path}/${name}`));
}
