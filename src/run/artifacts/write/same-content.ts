import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { lookUp } from '../../../workspace/look-up';
import { hashOpened } from './download-file';

/** Whether a path is a regular file of that content. */
export async function hasContent(path: string, { size, sha256 }: { size: number; sha256: string }): Promise<boolean> {
  const stat = lookUp(path);
  if (!stat?.isFile() || stat.size !== size) return false;
  const file = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0));
  try {
    return (await hashOpened(file, size)) === sha256;
  } finally {
    await file.close();
  }
}
