import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { portableExpression } from './glob';

const MATCH = `
import json, re, sys
print(json.dumps([bool(re.compile(pattern, re.DOTALL).fullmatch(path)) for pattern, path in json.load(sys.stdin)]))
`;

/** Which of the paths Python takes for the glob's. */
export function matchInPython(pairs: readonly [glob: string, path: string][]): boolean[] {
  const input = JSON.stringify(pairs.map(([glob, path]) => [portableExpression(glob), path]));
  return JSON.parse(execFileSync('python3', ['-I', '-c', MATCH], { input, encoding: 'utf8' }));
}

/** The same here. */
export function matchHere(glob: string, path: string): boolean {
  return new RegExp(`^(?:${portableExpression(glob)})$`, 's').test(path);
}

/** Names of directories that hold what globs and regular expressions give a meaning to. */
const hostile = fc
  .array(fc.constantFrom(...'(){}[]!*?+@\\ ^$|.,-#&~a\n\'"', 'é'), { minLength: 1, maxLength: 5 })
  .map((characters) => characters.join(''))
  .filter((name) => name !== '.' && name !== '..');
/** Paths of such directories. */
export const directory = fc.array(hostile, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));

const pieces = fc.constantFrom('a', 'b', '.', '\n', '$', ' ', '-', 'é', '{', ']', '\\', '!');
const name = fc.array(pieces, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(''));
/** Paths that globs may match. */
export const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
const part = fc.constantFrom('**', '*', '?', 'a', '*.b', '[ab]', '[!a]', '{a,b}', '*[$]', '.*', '@(a|b)', '!(a)', '!a');
export const glob = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
