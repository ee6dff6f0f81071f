import { byDirectory } from '../../config/syntax/by-directory';
import { isCredentialPath } from '../../config/policy';

/** Parts of paths that never travel, and why. */
export const NEVER: ReadonlyMap<string, string> = new Map([
  ['.git', 'version control'],
  ['node_modules', 'packages of Node'],
  ['__pycache__', 'compiled Python'],
  ['.venv', 'a virtual environment'],
  ['venv', 'a virtual environment'],
  ['.nx', "Nx's cache"],
]);

/**
 * Why a path never travels, unless a pattern without wildcards names the very part that it is left out for. A directory
 * that is named does not let what lies hidden in it through.
 * @param literal the paths that are named.
 */
export function neverSent(literal: ReadonlySet<string>): (path: string) => string | null {
  const whyDirectory = byDirectory((directory): string | null => (directory === '.' ? null : of(directory)));
  const of = (path: string): string | null => {
    if (literal.has(path)) return null;
    return whyDirectory(path) ?? whyPart(path.slice(path.lastIndexOf('/') + 1));
  };
  return of;
}

function whyPart(part: string): string | null {
  return NEVER.get(part) ?? (isCredentialPath(part) ? 'may hold secrets' : null);
}
