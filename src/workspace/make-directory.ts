import { lstatSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileProblem } from '../report/file-problem';
import { Problem } from '../report/problem';
import { printablePath } from '../report/terminal-text';

/**
 * Makes a directory and those above it. Node's own recursive mkdir never returns where the system refuses it with ENOENT,
 * as below /proc.
 * @throws Problem where something else is at its path, or it can't be made.
 */
export function makeDirectory(directory: string): void {
  const missing: string[] = [];
  for (let at = directory; !isDirectory(at); at = dirname(at)) {
    if (exists(at)) throw blocked(directory, at);
    missing.push(at);
  }
  for (const each of missing.reverse()) {
    try {
      mkdirSync(each);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Another process has made it.
      if (code === 'EEXIST' && isDirectory(each)) continue;
      if (code !== 'ENOENT') throw fileProblem(error, each) ?? error;
      throw new Problem('FILE_ERROR', `${printablePath(each)} can't be created (ENOENT).`, {
        next: 'Choose another directory.',
        cause: error,
      });
    }
  }
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** Whether anything is at a path; below a link that leads in a circle, nothing is. */
function exists(path: string): boolean {
  try {
    lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

function blocked(directory: string, at: string): Problem {
  const what = lstatSync(at).isSymbolicLink() ? 'a link that leads to no directory' : 'no directory';
  return new Problem(
    'ARTIFACT_BLOCKED',
    `Nothing can be written to ${printablePath(directory)}: ${printablePath(at)} is ${what}.`,
    {
      next: 'Move it away, or choose another directory, and run the same command again.',
    },
  );
}
