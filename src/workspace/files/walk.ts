import { readdirSync } from 'node:fs';
import { join, posix } from 'node:path';
import { lookUp } from '../look-up';

/** @returns true once a visit has: then the walk is over. */
export function walk(
  workspaceRoot: string,
  from: string,
  visit: (path: string, emptyDirectory: boolean) => boolean | void,
): boolean {
  const stat = lookUp(join(workspaceRoot, from));
  if (!stat) return false;
  if (!stat.isDirectory()) return visit(from, false) === true;
  const names = readdirSync(join(workspaceRoot, from));
  if (names.length === 0) return visit(from, true) === true;
  return names
    .filter((name) => name !== '.git' && name !== 'node_modules')
    .some((name) => walk(workspaceRoot, posix.join(from === '.' ? '' : from, name), visit));
}
