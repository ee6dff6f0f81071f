import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeScratch } from './scratch';

/** Makes two names one where the file system takes them for one. */
export type FoldNames = (path: string) => string;

export const foldAll: FoldNames = (path) => path.normalize('NFC').toUpperCase().toLowerCase();

/**
 * How the file system that a directory is on compares names, found by a file that is removed again. Where that can't be
 * tried, names that may be one are taken for one.
 */
export function probeFolding(directory: string): FoldNames {
  const composed = '\u00e9z';
  let scratch: string | undefined;
  try {
    scratch = makeScratch(directory);
    const path = join(scratch, composed);
    writeFileSync(path, '', { flag: 'wx' });
    const ignoresCase = existsSync(path.slice(0, -1) + 'Z');
    const ignoresForm = existsSync(join(scratch, composed.normalize('NFD')));
    return (name) => {
      const formed = ignoresForm || ignoresCase ? name.normalize('NFC') : name;
      return ignoresCase ? foldAll(formed) : formed;
    };
  } catch {
    return foldAll;
  } finally {
    if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
  }
}
