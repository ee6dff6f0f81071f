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
  const directories = new Map<string, string | null>();
  const ofDirectory = (directory: string): string | null => {
    let why = directories.get(directory);
    if (why === undefined) directories.set(directory, (why = of(directory)));
    return why;
  };
  const of = (path: string): string | null => {
    if (literal.has(path)) return null;
    const slash = path.lastIndexOf('/');
    return (slash < 0 ? null : ofDirectory(path.slice(0, slash))) ?? whyPart(path.slice(slash + 1));
  };
  return of;
}

function whyPart(part: string): string | null {
  return NEVER.get(part) ?? (isCredentialPath(part) ? 'may hold secrets' : null);
}
