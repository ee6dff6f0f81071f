import { readdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Problem } from '../../../report/problem';
import { printablePath } from '../../../report/terminal-text';
import { lookUp } from '../../../workspace/look-up';
import type { CollectedFiles } from './collected';
import { hasContent } from './same-content';
import type { Standing } from './standing';

/** Files and directories in the places of artifacts: by path, the files that each is or holds. */
export type Blocking = Map<string, string[]>;

/**
 * Finds what must be removed before the artifacts are written: files that an earlier collection brought and that have not
 * changed since, and directories that hold nothing else.
 * @param standing records the files. @throws Problem `ARTIFACT_BLOCKED` where something else is in the way.
 */
export async function findBlocking(
  root: string,
  paths: readonly string[],
  collected: CollectedFiles,
  standing: Standing,
): Promise<Blocking> {
  const blocking: Blocking = new Map();
  for (const path of paths) {
    const inTheWay = blockedBy(root, path);
    if (inTheWay === null || blocking.has(inTheWay)) continue;
    const files = filesAt(root, inTheWay);
    for (const file of files) standing.renew(file);
    // A training that ran here would replace them as well.
    for (const file of files) if (!(await isBrought(root, file, collected))) throw blockedProblem(root, path, inTheWay);
    blocking.set(inTheWay, files);
  }
  return blocking;
}

export function blockedProblem(root: string, path: string, inTheWay: string): Problem {
  return new Problem(
    'ARTIFACT_BLOCKED',
    `The artifact ${printablePath(path)} can't be written: ${inTheWay === path ? 'a directory' : 'a file'} is at ${printablePath(inTheWay)} in ${root}.`,
    { next: 'Move it away and run the same command again.' },
  );
}

/** The file at a path, or all that are below it; links are not followed. */
export function filesAt(root: string, path: string): string[] {
  if (!lookUp(join(root, path))?.isDirectory()) return [path];
  return readdirSync(join(root, path)).flatMap((name) => filesAt(root, `${path}/${name}`));
}

/** Removes files, and the directories at and below a path that are empty then. */
export function removeFiles(root: string, path: string, files: readonly string[]): void {
  for (const file of files) rmSync(join(root, file), { force: true });
  removeEmpty(join(root, path));
}

function removeEmpty(path: string): void {
  if (!lookUp(path)?.isDirectory()) return;
  for (const name of readdirSync(path)) removeEmpty(join(path, name));
  try {
    rmdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
  }
}

/** What is where a file is to be written: a directory, or a file where one of its directories has to be; null: nothing. */
export function blockedBy(root: string, path: string): string | null {
  const parts = path.split('/');
  for (let depth = 1; depth < parts.length; depth++) {
    const parent = parts.slice(0, depth).join('/');
    const stat = lookUp(join(root, parent));
    if (!stat) return null;
    if (!stat.isDirectory()) return parent;
  }
  return lookUp(join(root, path))?.isDirectory() ? path : null;
}

/** Whether a file is, with its content, what a collection brought. */
async function isBrought(root: string, path: string, { contents }: CollectedFiles): Promise<boolean> {
  for (const content of contents.get(path) ?? []) if (await hasContent(join(root, path), content)) return true;
  return false;
}
