import fc from 'fast-check';
import picomatch from 'picomatch';
import { isCredentialPath } from '../../config/policy';
import { GLOB } from '../../config/syntax/glob-expression';
import { NOT_TRAINED, whyNotTrained } from '../../config/targets/not-trained';
import { whyLeftOut } from './left-out-by-default';
import { NEVER, neverSent } from './never-sent';

const name = fc.oneof(
  fc.constantFrom(
    ...['a', 'b', 'tests', 'test_a.py', 'a_test.py', 'test_.py', 'nb.ipynb', 'README.md', 'LICENSE.txt', 'x.py'],
  ),
  fc.constantFrom(
    ...[
      '.env',
      '.ENV.local',
      '.e\u200cnv',
      '.git',
      '.GIT',
      '.git\u200c',
      '.gitignore',
      '.nxignore',
      'x.env',
      '.local.env',
      '.remote-train.Env',
      '.x.env.y',
    ],
  ),
  fc.constantFrom(...NEVER.keys(), 'ec2.config.json', 'README', 'é', 'a\nb', '-'),
);
const path = fc.array(name, { minLength: 1, maxLength: 6 }).map((names) => names.join('/'));
const paths = fc.array(path, { minLength: 1, maxLength: 30 });

function isCredential(part: string): boolean {
  return /^\.(env|git$|.*\.env$)/is.test(part.replace(/\p{Default_Ignorable_Code_Point}/gu, ''));
}

describe('what is decided of each path, once for each directory,', () => {
  it('is a credential file where one of its names is', () => {
    fc.assert(
      fc.property(path, (each) => expect(isCredentialPath(each)).toBe(each.split('/').some(isCredential))),
      { numRuns: 1000 },
    );
  });

  it('never travels for the first name that forbids it, behind the last one that is named', () => {
    const simple = (each: string, literal: Set<string>) => {
      const parts = each.split('/');
      const named = parts.filter((_, depth) => literal.has(parts.slice(0, depth + 1).join('/')));
      const last = Math.max(
        0,
        ...parts.map((_, depth) => (literal.has(parts.slice(0, depth + 1).join('/')) ? depth + 1 : 0)),
      );
      expect(named.length > 0).toBe(last > 0);
      for (const part of parts.slice(last)) {
        const why = NEVER.get(part) ?? (isCredential(part) ? 'may hold secrets' : undefined);
        if (why) return why;
      }
      return null;
    };
    let kept = 0;
    fc.assert(
      fc.property(paths, fc.array(fc.nat(100), { maxLength: 3 }), fc.nat(6), (all, picks, depth) => {
        const pick = (index: number) =>
          all[index % all.length]
            .split('/')
            .slice(0, depth || undefined)
            .join('/');
        const literal = new Set(picks.map(pick));
        const never = neverSent(literal);
        for (const each of [...all, ...all]) {
          const expected = simple(each, literal);
          kept += expected === null ? 1 : 0;
          expect([each, never(each)]).toEqual([each, expected]);
        }
      }),
      { numRuns: 500 },
    );
    expect(kept).toBeGreaterThan(100);
  });

  it('is not trained with where a pattern matches', () => {
    const matchers = NOT_TRAINED.map((pattern) => picomatch(pattern, GLOB));
    let matched = 0;
    fc.assert(
      fc.property(path, (each) => {
        const expected = matchers.some((matches) => matches(each));
        matched += expected ? 1 : 0;
        expect([each, whyNotTrained(each) !== null]).toEqual([each, expected]);
      }),
      { numRuns: 2000 },
    );
    expect(matched).toBeGreaterThan(100);
  });

  it('is left out by what it is called in the innermost project that it is in', () => {
    const simple = (roots: string[]) => (each: string) => {
      const innermostFirst = [...roots].sort((a, b) => b.length - a.length);
      const root = innermostFirst.find((one) => one === '.' || each.startsWith(`${one}/`));
      return root === undefined ? null : whyNotTrained(root === '.' ? each : each.slice(root.length + 1));
    };
    fc.assert(
      fc.property(paths, fc.array(fc.nat(100), { minLength: 1, maxLength: 4 }), fc.boolean(), (all, picks, whole) => {
        const named = picks.map((index) =>
          all[index % all.length]
            .split('/')
            .slice(0, 1 + (index % 3))
            .join('/'),
        );
        const roots = [...named, ...(whole ? ['.'] : [])];
        const [why, expected] = [whyLeftOut('/nonexistent', roots), simple(roots)];
        for (const each of all) expect(why(each)?.split(':')[0] ?? null).toBe(expected(each));
      }),
      { numRuns: 500 },
    );
  });
});
