import { join } from 'node:path';

/** bytes of a name, on every file system that is in use, and of a path. */
const MAX_NAME_BYTES = 255;
const MAX_PATH_LENGTHS: Partial<Record<NodeJS.Platform, number>> = { linux: 4095, darwin: 1023 };
/** bytes that the path of a file has more as long as it is not whole. */
const UNFINISHED_BYTES = 128;

/** Whether no file of this path can be made in a directory. */
export function isTooLong(output: string, path: string): boolean {
  const longest = MAX_PATH_LENGTHS[process.platform] ?? Infinity;
  return (
    Buffer.byteLength(join(output, path)) + UNFINISHED_BYTES > longest ||
    path.split('/').some((part) => Buffer.byteLength(part) > MAX_NAME_BYTES)
  );
}
