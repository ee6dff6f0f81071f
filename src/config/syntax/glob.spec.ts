import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { SENSITIVE_FILES } from '../schema/sensitive-files';
import { assertGlob, globMatcher, portableExpression, rootedGlob, secretMatcher } from './glob';
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

  it('has the usual names of files with secrets by default, and no tokenizer', () => {
    const isSecret = secretMatcher('model', SENSITIVE_FILES);
    const secrets = ['id_rsa', '.npmrc', '.pypirc', '.aws/config', 'token.json', 'terraform.tfstate', '.htpasswd'];
    secrets.push('a.p12', '.docker/config.json', 'prod.env', 'db-passwords.yml', 'hf_token', '.kube/config');
    const others = ['tokenizer.json', 'tokens.py', 'train.py', 'environment.yml', 'keys.py', 'docker/Dockerfile'];
    for (const place of ['', 'model/', 'libs/x/']) {
      expect(secrets.filter((name) => !isSecret(place + name))).toEqual([]);
      expect(others.filter((name) => isSecret(place + name))).toEqual([]);
    }
  });

  it('is relative to the workspace only if it begins with {workspaceRoot}', () => {
    const isSecret = secretMatcher('model', ['{workspaceRoot}/keys/*']);
    expect(['keys/a', 'model/keys/a'].map(isSecret)).toEqual([true, false]);
  });
});

/** Patterns that the property about time makes. */
const RUNS = 4000;
/** Each is tried after it was named, so the last name is that of a pattern that takes too long. */
const IN_NODE = `
const { readFileSync, writeSync } = require('node:fs');
for (const [glob, source, names] of JSON.parse(readFileSync(0, 'utf8'))) {
  writeSync(1, JSON.stringify(glob) + '\\n');
  for (const name of names) new RegExp('^(?:' + source + ')$', 's').test(name);
}`;
const IN_PYTHON = `
import json, re, sys
for glob, source, names in json.load(sys.stdin):
    print(json.dumps(glob), flush=True)
    for name in names: re.compile(source, re.DOTALL).fullmatch(name)
`;

describe('the time that a glob may take', () => {
  it('is short for every pattern that is accepted, in both languages', () => {
    const token = fc.oneof(
      fc.constantFrom(...'*?+@!(){}[]|,ab.\\/-'),
      fc.constantFrom(
        '**',
        '**/',
        '+(a)',
        '*(a|b)',
        '!(b|a)',
        '@(a|ab)',
        '{a,ab}',
        '{*,a}',
        '[a-c]',
        '@(**)',
        '{**,a}',
        '@(',
        '+(',
      ),
    );
    const pattern = fc.array(token, { minLength: 2, maxLength: 11 }).map((tokens) => tokens.join(''));
    const accepted = new Set<string>();
    const seed = fc.sample(fc.nat(), 1)[0];
    for (const each of fc.sample(pattern, { seed, numRuns: RUNS })) {
      try {
        assertGlob(each);
        accepted.add(each);
      } catch (error) {
        expect((error as { code: string }).code).toBe('GLOB_INVALID');
      }
    }
    expect(accepted.size).toBeGreaterThan(RUNS / 5);
    const units = ['a', 'b', 'ab', 'aab', 'a/', 'ab/', '.', 'a.', '-', '!', 'a+'];
    const names = units.flatMap((unit) => [40, 64].map((length) => unit.repeat(length / unit.length)));
    const hostile = names.flatMap((name) => [`${name}~`, `${name}\n`]);
    const input = JSON.stringify([...accepted].map((each) => [each, portableExpression(each), hostile]));
    for (const [program, args] of [
      [process.execPath, ['-e', IN_NODE]],
      ['python3', ['-I', '-c', IN_PYTHON]],
    ] as const) {
      // Seconds of the processor, so that a busy machine makes no difference.
      const limited = ['-c', 'ulimit -t 60; exec "$@"', 'sh', program, ...args];
      const { stdout, status } = spawnSync('sh', limited, { input, encoding: 'utf8' });
      expect([seed, program, status === 0 ? null : stdout.split('\n').at(-2)]).toEqual([seed, program, null]);
    }
  }, 600_000);

  it('is short for paths that no file system can hold', () => {
    const started = Date.now();
    const names = ['a', 'ab', 'a/', 'aab/', 'b'].map((unit) => `${unit.repeat(4000 / unit.length)}!`);
    for (const each of ['**(a|b)b*(ab)', '?**(ab)a@(**)a', '*{a,b}*{a,b}*c', '+(a|b)b*(ab)'])
      for (const name of [...names, `${'ab'.repeat(127)}/`.repeat(16)])
        globMatcher({ written: each, root: '', pattern: each })(name);
    expect(Date.now() - started).toBeLessThan(BOUND_MS);
    const literal = 'a'.repeat(300);
    expect(globMatcher({ written: literal, root: '', pattern: literal })(literal)).toBe(true);
  });

  /** A bound that no idle machine is needed for; what is refused would take hours. */
  const BOUND_MS = 20_000;
  const evil = [
    ...['+(a)+(a)b', '*a*a*ab', '**/a/**/b', '{a,aa}{a,aa}{a,aa}{a,aa}b', '+(a|b)c', '!(*a)b', '*(a)*(a)b'],
    ...['+(a|aa)b', '(a+)+b', '+(*a)b', '+(+(a))b', '*(a|*)b', '**/**/**/**/b', '*a*a*a*a*ab', '(a|a)*b', '((((a))))'],
    ...[
      '{*,a}+',
      '{*.pt,*}+x',
      '{a,aa}+',
      '{**,a}+(?)',
      '{a,*}{b,*}+',
      '{{a,b},c}+',
      '@({a,aa}+|b)',
      '[[:alpha:]]+[[:alpha:]]+',
    ],
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
