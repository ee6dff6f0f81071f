import { hash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { sanitizeForTerminal } from '../report/terminal-text';
import type { Chunk } from './chunk';
import { FileMoved } from './file-moved';

/**
 * A chunk of a file as it was scanned.
 * @param block where it is read to, if it fits: what was read before is overwritten. Absent: a buffer of its own.
 * @throws FileMoved where it is no longer that.
 */
export function readVerified(
  workspaceRoot: string,
  path: string,
  offset: number,
  [sha256, size]: Chunk,
  block?: Buffer,
): Buffer {
  try {
    const file = openSync(join(workspaceRoot, path), 'r');
    try {
      const data = block && size <= block.length ? block.subarray(0, size) : Buffer.allocUnsafe(size);
      let count = 0;
      for (let more = 1; more > 0 && count < size; count += more)
        more = readSync(file, data, count, size - count, offset + count);
      if (count === size && hash('sha256', data, 'hex') === sha256) return data;
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw new FileMoved(sanitizeForTerminal(path), error);
  }
  throw new FileMoved(sanitizeForTerminal(path));
}
