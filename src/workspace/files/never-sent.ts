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

/** Why a path never travels, unless a pattern without wildcards names the very part that it is left out for. */
export function never(path: string, literal: Set<string>): string | null {
  const parts = path.split('/');
  let named = 0;
  for (let depth = 1; depth <= parts.length; depth++) {
    if (literal.has(parts.slice(0, depth).join('/'))) named = depth;
  }
  // A directory that is named does not let what lies hidden in it through.
  for (const part of parts.slice(named)) {
    const why = NEVER.get(part) ?? (isCredentialPath(part) ? 'may hold secrets' : undefined);
    if (why) return why;
  }
  return null;
}
