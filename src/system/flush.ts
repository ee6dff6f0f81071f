import { fdatasync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';

/**
 * Flushes the data of an open file to the disk. `FileHandle.datasync` does the same, but the file handles of Yarn Plug'n'Play
 * have no such method.
 */
export function flush({ fd }: FileHandle): Promise<void> {
  return promisify(fdatasync)(fd);
}
