import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { Problem } from '../report/problem';

/** Nothing is ever written through a symbolic link. */
export function refuseSymlinkOnTheWay(base: string, relative: string): void {
  let path = base;
  for (const part of relative.split('/')) {
    if (part === '.' || part === '') continue;
    path = join(path, part);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat?.isSymbolicLink()) {
      throw new Problem('ARTIFACT_UNSAFE', `Artifacts can't be written: ${path} is a symbolic link.`, {
        next: 'Remove the link, or set "train.outputDir".',
      });
    }
  }
}
