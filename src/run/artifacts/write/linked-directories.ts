import { join } from 'node:path';
import { lookUp } from '../../../workspace/look-up';
import { parentsOf } from './names';

/** Which link, of those that are here, a path would lead through; null: none. */
export function linkedDirectories(root: string): (path: string) => string | null {
  const known = new Map<string, boolean>();
  return (path) => {
    for (const directory of parentsOf(path)) {
      let isLink = known.get(directory);
      if (isLink === undefined) {
        isLink = lookUp(join(root, directory))?.isSymbolicLink() ?? false;
        known.set(directory, isLink);
      }
      if (isLink) return directory;
    }
    return null;
  };
}
