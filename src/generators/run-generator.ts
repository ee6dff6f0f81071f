import { realpathSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import type { Tree } from '@nx/devkit';
import { Problem } from '../report/problem';
import { lookUp } from '../workspace/look-up';

/**
 * Runs a generator, which writes nothing outside the workspace. A `Problem` leaves it without its stack: Nx advises "Pass
 * --verbose to see the stacktrace" for each error that has one, which does not help with a user's mistake.
 * @throws Problem `DIRECTORY_OUTSIDE` if a symbolic link leads a file that it has changed out of the workspace.
 */
export async function runGenerator<T>(tree: Tree, generate: () => Promise<T>): Promise<T> {
  try {
    const done = await generate();
    assertInside(tree);
    return done;
  } catch (error) {
    if (error instanceof Problem) error.stack = undefined;
    throw error;
  }
}

/** Nx writes the changes of a tree through links. */
function assertInside(tree: Tree): void {
  if (lookUp(tree.root) === null) return;
  const root = realpathSync(tree.root);
  for (const { path } of tree.listChanges()) {
    let there = join(tree.root, path);
    while (lookUp(there) === null) there = dirname(there);
    const real = realPath(there);
    if (real !== null && !relative(root, real).startsWith(`..${sep}`) && relative(root, real) !== '..') continue;
    throw new Problem('DIRECTORY_OUTSIDE', `${path} would be written outside the workspace.`, {
      next: `${there} is, or lies below, a symbolic link to ${real ?? 'nothing'}: remove the link, or name another directory.`,
    });
  }
}

/** Null: a link that leads nowhere. */
function realPath(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}
