import { statSync } from 'node:fs';
import { join, posix } from 'node:path';
import type { Tree } from '@nx/devkit';

/** Bounds on what is read of a project: it may hold data, or another checkout. */
const MAX_ENTRIES = 5_000;
const MAX_DEPTH = 6;
const MAX_FILES = 300;
const MAX_FILE_BYTES = 512 * 1024;
const MAX_BYTES = 16 * 1024 * 1024;

/** Directories that hold other people's code, or results. */
const NOT_SOURCES = new Set(
  'node_modules venv env __pycache__ site-packages wandb mlruns lightning_logs multirun artifacts checkpoints renv'.split(
    ' ',
  ),
);

export interface ProjectFiles {
  /** Project-relative, the outer ones first. */
  paths: string[];
  /** Whether not all could be looked at. */
  isPartial: boolean;
  /** The text of a file; null: absent, no file, or too large. */
  read(path: string): string | null;
}

/** The files of a project, without those of the projects inside it, hidden directories and environments. */
export function projectFiles(tree: Tree, root: string, otherRoots: readonly string[]): ProjectFiles {
  const others = new Set(otherRoots);
  const paths: string[] = [];
  let isPartial = false;
  let entries = 0;
  let queue = [''];
  for (let depth = 0; queue.length > 0; depth += 1) {
    const next: string[] = [];
    for (const directory of queue) {
      const names = tree.children(posix.join(root, directory)).sort();
      if (names.includes('pyvenv.cfg')) continue;
      for (const name of names) {
        entries += 1;
        if (entries > MAX_ENTRIES) {
          isPartial = true;
          break;
        }
        const path = posix.join(directory, name);
        if (tree.isFile(posix.join(root, path))) paths.push(path);
        else if (!name.startsWith('.') && !NOT_SOURCES.has(name) && !others.has(posix.join(root, path)))
          next.push(path);
      }
    }
    if (depth >= MAX_DEPTH) isPartial ||= next.length > 0;
    queue = depth >= MAX_DEPTH || isPartial ? [] : next;
  }
  let files = 0;
  let bytes = 0;
  const texts = new Map<string, string | null>();
  const readOnce = (path: string): string | null => {
    const full = posix.join(root, path);
    if (!tree.isFile(full)) return null;
    // A file on the disk is not read to learn its size.
    const size = statSync(join(tree.root, full), { throwIfNoEntry: false })?.size ?? 0;
    if (size > MAX_FILE_BYTES || files >= MAX_FILES || bytes >= MAX_BYTES) {
      found.isPartial = true;
      return null;
    }
    const content = tree.read(full);
    if (content === null || content.length > MAX_FILE_BYTES) {
      found.isPartial = true;
      return null;
    }
    files += 1;
    bytes += content.length;
    return content.toString('utf8').replace(/^\ufeff/, '');
  };
  const found: ProjectFiles = {
    paths,
    isPartial,
    read(path) {
      if (!texts.has(path)) texts.set(path, readOnce(path));
      return texts.get(path)!;
    },
  };
  return found;
}
