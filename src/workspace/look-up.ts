import { lstatSync, type Stats } from 'node:fs';

/** What is at a path, links not followed; null where there is nothing, or a file stands where a directory would. */
export function lookUp(path: string): Stats | null {
  try {
    return lstatSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
}
