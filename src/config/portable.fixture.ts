import { execFileSync } from 'node:child_process';
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
