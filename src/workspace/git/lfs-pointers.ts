import { closeSync, constants, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { Entry } from '../../snapshot/entry';

const HEAD = Buffer.from('version https://git-lfs.github.com/spec/v1\n');
/** Sizes of pointers, bytes: one without extensions and of an empty file, and the limit that Git LFS sets. */
const MIN_POINTER_BYTES = 110;
const MAX_POINTER_BYTES = 1_023;

/**
 * Of the files of a snapshot, those that hold a pointer of Git LFS where the content should be.
 * @param known what was looked at before, and is not again: paths with their contents' hashes. It grows.
 */
export function lfsPointers(workspaceRoot: string, entries: readonly Entry[], known = new Set<string>()): string[] {
  const head = Buffer.alloc(HEAD.length);
  return entries.flatMap((entry) => {
    if (entry.kind !== 'file' || entry.size < MIN_POINTER_BYTES || entry.size > MAX_POINTER_BYTES) return [];
    const content = `${entry.sha256} ${entry.path}`;
    if (known.has(content)) return [];
    known.add(content);
    return readHead(join(workspaceRoot, entry.path), head) && head.equals(HEAD) ? [entry.path] : [];
  });
}

function readHead(path: string, head: Buffer): boolean {
  let file: number;
  try {
    // A pipe that has taken the file's place does not block.
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    // Gone since the scan: the sync says so.
    return false;
  }
  try {
    return readSync(file, head) === head.length;
  } catch {
    return false;
  } finally {
    closeSync(file);
  }
}
