import { randomBytes } from 'node:crypto';
import { existsSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Makes two names one where the file system takes them for one. */
export type FoldNames = (path: string) => string;

export const foldAll: FoldNames = (path) => path.normalize('NFC').toUpperCase().toLowerCase();

/**
 * How the file system that a directory is on compares names, found by a file that is removed again. Where that can't be
 * tried, names that may be one are taken for one.
 */
export function probeFolding(directory: string): FoldNames {
  const composed = `.nx-ec2-${randomBytes(6).toString('hex')}-\u00e9z`;
  const path = join(directory, composed);
  try {
    writeFileSync(path, '', { flag: 'wx' });
  } catch {
    return foldAll;
  }
  try {
    const ignoresCase = existsSync(path.slice(0, -1) + 'Z');
    const ignoresForm = existsSync(join(directory, composed.normalize('NFD')));
    return (name) => {
      const formed = ignoresForm || ignoresCase ? name.normalize('NFC') : name;
      return ignoresCase ? foldAll(formed) : formed;
    };
  } finally {
    unlinkSync(path);
  }
}
