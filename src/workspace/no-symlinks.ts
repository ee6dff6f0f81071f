import { join } from 'node:path';
import { Problem } from '../report/problem';
import { lookUp } from './look-up';

/** Nothing is ever written through a symbolic link. */
export function assertNoSymlinkInPath(base: string, relative: string): void {
  let path = base;
  for (const part of relative.split('/')) {
    if (part === '.' || part === '') continue;
    path = join(path, part);
    const stat = lookUp(path);
    if (stat?.isSymbolicLink()) {
      throw new Problem('ARTIFACT_UNSAFE', `Artifacts can't be written: ${path} is a symbolic link.`, {
        next: 'Remove the link, or change "train.outputs".',
      });
    }
  }
}
