import fc from 'fast-check';
import { assertGlob, globMatcher, rootedGlob, secretMatcher } from './glob';
import { directory, glob, matchHere, matchInPython, path } from './portable.fixture';

describe('a glob of a project', () => {
  const matches = (root: string, written: string, of: string) => globMatcher(rootedGlob(root, written)!)(of);

  it("is matched below the project, whatever the name of the project's directory is", () => {
    fc.assert(
      fc.property(directory, glob, path, (root, each, of) => {
        const expected = matches('plain', each, `plain/${of}`);
        expect(matches(root, each, `${root}/${of}`)).toBe(expected);
        expect(matches(root, each, `other/${of}`)).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  it('may lead up, but never out of the workspace', () => {
    expect(matches('libs/(team)/model', '../data/*.csv', 'libs/(team)/data/a.csv')).toBe(true);
    expect(matches('libs/(team)/model', '{workspaceRoot}/data/**', 'data/a/b')).toBe(true);
    expect(rootedGlob('libs/model', '../../../x')).toBeNull();
    expect(rootedGlob('libs/model', '{workspaceRoot}/../x')).toBeNull();
  });

  it('that is a path matches everything below it, even if the path contains pattern characters', () => {
    expect(matches('model', 'raw (1)', 'model/raw (1)/a.csv')).toBe(true);
    expect(matches('model', 'raw', 'model/raw/a.csv')).toBe(true);
    expect(matches('model', 'raw', 'model/rawest')).toBe(false);
    expect(matches('model', 'raw \\(1\\)', 'model/raw (1)/a.csv')).toBe(true);
  });
});

describe('sync.sensitive', () => {
  it('matches at any depth of any project, in any case', () => {
    fc.assert(
      fc.property(directory, directory, (root, library) => {
        const isSecret = secretMatcher(root, ['**/*.pem', 'keys/*.txt']);
        for (const place of [root, library, `${library}/x`]) {
          expect(isSecret(`${place}/tls.PEM`)).toBe(true);
          expect(isSecret(`${place}/Keys/a.txt`)).toBe(true);
        }
        expect(isSecret(`${library}/a.txt`)).toBe(false);
        expect(isSecret('tls.pem')).toBe(true);
      }),
    );
  });

  it('matches everything below a directory that it names, at any depth, but never the whole project', () => {
    const below = fc.array(fc.constantFrom('a', 'b.txt', 'c'), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(below, fc.constantFrom('Secrets', '.env.d', 'tls.key', 'my-credentials'), (parts, directory) => {
        const isSecret = secretMatcher('a-secret/model', ['*secret*', '.env*', '*.key', '*credential*']);
        for (const place of ['', 'a-secret/model/', 'lib/x/'])
          expect(isSecret([`${place}${directory}`, ...parts].join('/'))).toBe(true);
        expect(isSecret(['a-secret/model', ...parts].join('/'))).toBe(false);
      }),
    );
  });

  it('is relative to the workspace only if it begins with {workspaceRoot}', () => {
    const isSecret = secretMatcher('model', ['{workspaceRoot}/keys/*']);
    expect(['keys/a', 'model/keys/a'].map(isSecret)).toEqual([true, false]);
  });
});

describe('the time that a glob may take', () => {
  /** A bound that no idle machine is needed for; what is refused would take hours. */
  const BOUND_MS = 20_000;
  const evil = [
    ...['+(a)+(a)b', '*a*a*ab', '**/a/**/b', '{a,aa}{a,aa}{a,aa}{a,aa}b', '+(a|b)c', '!(*a)b', '*(a)*(a)b'],
    ...['+(a|aa)b', '(a+)+b', '+(*a)b', '+(+(a))b', '*(a|*)b', '**/**/**/**/b', '*a*a*a*a*ab', '(a|a)*b', '((((a))))'],
    ...['+(a|a?)b', '+([a-z]|a)b', '@(+(a)|b)*(a)*(a)b', '{+(a),+(aa)}+(a)b', 'a'.repeat(600)],
  ];
  const long = ['a'.repeat(255), `${'a'.repeat(60)}/`.repeat(3) + 'a'];

  const refusal = (pattern: string): string | null => {
    try {
      assertGlob(pattern);
      return null;
    } catch (error) {
      return (error as { code: string }).code;
    }
  };

  it('is bounded in both languages for every glob that is accepted', () => {
    const accepted = evil.filter((each) => refusal(each) === null);
    expect([...new Set(evil.map(refusal))].sort()).toEqual(['GLOB_INVALID', null]);
    expect(accepted).toEqual(expect.arrayContaining(['*a*a*ab', '**/a/**/b', '{a,aa}{a,aa}{a,aa}{a,aa}b']));
    for (const refused of ['(a+)+b', '+(*a)b', '+(+(a))b', '**/**/**/**/b', '*a*a*a*a*ab', '+(a|aa)b'])
      expect(accepted).not.toContain(refused);
    const started = Date.now();
    const pairs = accepted.flatMap((each) => long.map((of): [string, string] => [each, of]));
    const here = pairs.map(([each, of]) => matchHere(each, of));
    expect(matchInPython(pairs)).toEqual(here);
    expect(Date.now() - started).toBeLessThan(BOUND_MS);
  });
});
