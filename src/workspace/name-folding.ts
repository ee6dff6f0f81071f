import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeScratch } from './scratch';

/** Makes two names one where the file system takes them for one. */
export type FoldNames = (path: string) => string;

/** HFS+ and case-folding directories of ext4 ignore characters in names that are not seen. */
export function withoutIgnorable(path: string): string {
  return path.replace(/\p{Default_Ignorable_Code_Point}/gu, '');
}

export const foldAll: FoldNames = (path) => withoutIgnorable(path).normalize('NFC').toUpperCase().toLowerCase();

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
    const ignoresUnseen = existsSync(`${path}\u200c`);
    return (name) => {
      const seen = ignoresUnseen ? withoutIgnorable(name) : name;
      const formed = ignoresForm || ignoresCase ? seen.normalize('NFC') : seen;
      return ignoresCase ? formed.toUpperCase().toLowerCase() : formed;
    };
  } catch {
    return foldAll;
  } finally {
    if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
  }
}
