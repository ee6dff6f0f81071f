import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import picomatch from 'picomatch';
import { GLOB } from '../config/glob';
import { globPattern } from './artifacts';

const MATCH = `
import json, re, sys
print(json.dumps([bool(re.compile(pattern, re.DOTALL).fullmatch(path)) for pattern, path in json.load(sys.stdin)]))
`;

/** Which of the paths Python takes for the glob's. */
function python(pairs: [glob: string, path: string][]): boolean[] {
  const input = JSON.stringify(pairs.map(([glob, path]) => [globPattern(glob), path]));
  return JSON.parse(execFileSync('python3', ['-I', '-c', MATCH], { input, encoding: 'utf8' }));
}

describe('a glob of artifacts', () => {
  it('has at its end no line break that a name has', () => {
    const paths = ['out/.\n', 'out/a\n', 'out/a', 'out/..\n/b', 'out/$\n', 'out/b$'];
    const pairs = (glob: string) => paths.map((path): [string, string] => [glob, path]);
    expect(python(pairs('out/**'))).toEqual(paths.map(() => true));
    expect(python(pairs('out/a'))).toEqual([false, false, true, false, false, false]);
    expect(python(pairs('out/*[$]'))).toEqual([false, false, false, false, false, true]);
    expect(python(pairs('out/*$'))).toEqual([false, false, false, false, false, true]);
  });

  it('is on the instance what it is here', () => {
    const pieces = fc.constantFrom('a', 'b', '.', '\n', '$', ' ', '-', 'é', '{', ']', '\\');
    const name = fc.array(pieces, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(''));
    const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
    const part = fc.constantFrom('**', '*', '?', 'a', '*.b', '[ab]', '[!a]', '{a,b}', '*[$]', '.*', '@(a|b)', '!(a)');
    const glob = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
    fc.assert(
      fc.property(fc.array(fc.tuple(glob, path), { minLength: 200, maxLength: 200 }), (pairs) => {
        const here = pairs.map(([each, of]) => picomatch.makeRe(each, GLOB).test(of));
        expect(python(pairs)).toEqual(here);
      }),
      { numRuns: 10, endOnFailure: true },
    );
  });
});
