import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { listByWalk } from './list-by-walk';

// The walker of Nx itself: it is what lists files for createProjectFileMapUsingProjectGraph.
// eslint-disable-next-line @typescript-eslint/no-require-imports
const { WorkspaceContext } = require('nx/src/native') as {
  WorkspaceContext: new (root: string, cache: string) => { allFileData(): { file: string }[] };
};

describe('the files that are listed without Nx', () => {
  let base: string;
  let home: string | undefined;
  let settings: string | undefined;
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'nx-ec2-walk-'));
    ({ HOME: home, XDG_CONFIG_HOME: settings } = process.env);
    delete process.env.XDG_CONFIG_HOME;
    process.env.HOME = base;
  });
  afterEach(() => {
    process.env.HOME = home;
    if (settings !== undefined) process.env.XDG_CONFIG_HOME = settings;
    rmSync(base, { recursive: true });
  });

  let count = 0;
  /** Makes a workspace that is the root of a repository. Texts are files, arrays are targets of links. */
  const make = (files: Record<string, string | [target: string] | null>) => {
    const root = join(base, `w${count++}`);
    mkdirSync(join(root, '.git'), { recursive: true });
    for (const [path, content] of Object.entries(files)) {
      const at = join(root, path);
      mkdirSync(dirname(at), { recursive: true });
      if (content === null) mkdirSync(at);
      else if (Array.isArray(content)) symlinkSync(content[0], at);
      else writeFileSync(at, content);
    }
    return root;
  };
  const byNx = (root: string) =>
    new WorkspaceContext(root, mkdtempSync(join(base, 'cache-')))
      .allFileData()
      .map(({ file }) => file)
      .sort();
  const byWalk = async (root: string, roots = ['.'], inner: string[] = []) => {
    const walked = await listByWalk(root, roots, new Set(inner));
    return walked && [...walked.stats.keys()].sort();
  };

  const part = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom('a', 'b', 'c.py', 'd.csv', 'ab') },
    { weight: 1, arbitrary: fc.constantFrom('node_modules', '.nx', 'cache', '.yarn', '.hidden', 'é.py', 'A', 'a b') },
  );
  const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
  const pattern = fc
    .record({
      kept: fc.boolean(),
      rooted: fc.boolean(),
      parts: fc.array(
        fc.oneof(
          { weight: 4, arbitrary: fc.constantFrom('a', 'b', 'c.py', 'ab', '*', '*.py', '*.csv', 'a*', '*b*', '[ab]') },
          { weight: 1, arbitrary: fc.constantFrom('**', '*.[cp]sv', '[a-c]*', '.nx', 'A', '.*', 'a b', '*é') },
          { weight: 1, arbitrary: fc.constantFrom('', '.', '?', 'a\\b', '[!a]', '{a,b}', 'a**', '***', '#a', '!a') },
        ),
        { minLength: 1, maxLength: 3 },
      ),
      end: fc.constantFrom('', '', '/', '/', ' ', '\r'),
    })
    .map(({ kept, rooted, parts, end }) => `${kept ? '!' : ''}${rooted ? '/' : ''}${parts.join('/')}${end}`);
  const rules = fc.array(fc.oneof(pattern, fc.constantFrom('', '# comment')), { maxLength: 5 });
  const tree = fc.record({
    paths: fc.uniqueArray(path, { minLength: 3, maxLength: 14 }),
    links: fc.array(fc.tuple(path, fc.constantFrom('a', '../a', 'b', 'nowhere')), { maxLength: 2 }),
    ignore: fc.array(
      fc.tuple(
        fc.constantFrom('', '', 'a/', 'a/b/', 'b/'),
        fc.constantFrom('.gitignore', '.gitignore', '.nxignore'),
        rules,
      ),
      { maxLength: 4 },
    ),
    exclude: fc.option(rules),
  });

  /** Paths that can be in one tree: none lies in a file. */
  const filesOf = ({ paths, links, ignore, exclude }: typeof tree extends fc.Arbitrary<infer T> ? T : never) => {
    const all: Record<string, string | [string]> = {};
    const add = (each: string, content: string | [string]) => {
      const taken = Object.keys(all);
      if (!taken.some((other) => other === each || other.startsWith(`${each}/`) || each.startsWith(`${other}/`)))
        all[each] = content;
    };
    // Nx waits for ever for the files of a workspace in which all are ignored.
    const ofRoot = ignore.find(([directory, name]) => directory + name === '.nxignore')?.[2] ?? [];
    add('.nxignore', [...ofRoot, '!/always'].join('\n'));
    add('always', '');
    for (const [directory, name, lines] of ignore) add(directory + name, lines.join('\n'));
    if (exclude) add('.git/info/exclude', exclude.join('\n'));
    for (const each of paths) add(each, '');
    for (const [each, target] of links) add(each, [target]);
    return all;
  };

  it('are those that Nx lists, whatever the ignore files say; otherwise Nx is asked', async () => {
    let asked = 0;
    let hidden = 0;
    let compared = 0;
    await fc.assert(
      fc.asyncProperty(tree, async (wanted) => {
        const files = filesOf(wanted);
        const root = make(files);
        const ours = await byWalk(root);
        const theirs = byNx(root);
        rmSync(root, { recursive: true });
        if (ours === null) {
          asked++;
          return;
        }
        compared++;
        if (theirs.length < Object.keys(files).length) hidden++;
        expect(ours).toEqual(theirs);
      }),
      { numRuns: 300 },
    );
    expect(compared).toBeGreaterThan(100);
    expect(hidden).toBeGreaterThan(50);
    expect(asked).toBeGreaterThan(10);
  });

  it('are those of the innermost project that they are in', async () => {
    const root = make({
      '.gitignore': '*.log\n/libs/old\n',
      'apps/m/a.py': '',
      'apps/m/b.log': '',
      'apps/m/inner/c.py': '',
      'apps/m/inner/deep/d.py': '',
      'libs/x/e.py': '',
      'libs/x/.gitignore': 'gen/*\n!gen/keep\n',
      'libs/x/gen/g': '',
      'libs/x/gen/keep': '',
      'libs/old/f.py': '',
      'rest.py': '',
    });
    const projects = ['apps/m', 'apps/m/inner', 'libs/x', 'libs/old'];
    expect(await byWalk(root, ['apps/m', 'libs/x', 'libs/old', 'absent'], projects)).toEqual([
      'apps/m/a.py',
      'libs/x/.gitignore',
      'libs/x/e.py',
      'libs/x/gen/keep',
    ]);
    expect(await byWalk(root, ['apps/m/inner'], projects)).toEqual(['apps/m/inner/c.py', 'apps/m/inner/deep/d.py']);
    expect(await byWalk(root, ['.'], projects)).toEqual(['.gitignore', 'rest.py']);
  });

  it('are listed by Nx where another repository, a link on the way or an unusual rule may make a difference', async () => {
    const cases: Record<string, string | [string]>[] = [
      { 'm/sub/.git/HEAD': '', 'm/a': '' },
      { 'm/.ignore': 'a', 'm/a': '' },
      { real: ['a'], 'm/.gitignore': ['real'], 'm/a': '' },
      { '.gitignore': 'a\\ b', 'm/a': '' },
      { '.gitignore': 'data{,2}', 'm/a': '' },
      { '.git/info/exclude': '?', 'm/a': '' },
    ];
    for (const files of cases) expect(await byWalk(make(files), ['m'])).toBeNull();
    expect(await byWalk(make({ 'other/a': '', m: ['other'] }), ['m'])).toBeNull();
    writeFileSync(join(base, '.gitconfig'), '[core]\n  excludesFile = ~/ignore\n');
    expect(await byWalk(make({ 'm/a': '' }), ['m'])).toBeNull();
  });

  it('leave out what the user ignores everywhere', async () => {
    mkdirSync(join(base, '.config/git'), { recursive: true });
    writeFileSync(join(base, '.config/git/ignore'), '*.swp\n.DS_Store\n');
    const root = make({ 'm/a.py': '', 'm/.a.swp': '', 'm/.DS_Store': '' });
    expect(await byWalk(root, ['m'])).toEqual(['m/a.py']);
    // The environment of this process is not that of the tests.
    const program = `const { WorkspaceContext } = require(${JSON.stringify(require.resolve('nx/src/native'))});
      console.log(new WorkspaceContext(${JSON.stringify(root)}, ${JSON.stringify(base)}).allFileData()[0].file);`;
    const env = { PATH: process.env.PATH, HOME: base };
    expect(execFileSync(process.execPath, ['-e', program], { env, encoding: 'utf8' })).toBe('m/a.py\n');
    writeFileSync(join(base, '.config/git/ignore'), '/m/a.py\n');
    expect(await byWalk(root, ['m'])).toBeNull();
  });

  it('are not listed by the rules of a directory above, unless the workspace is no repository', async () => {
    writeFileSync(join(base, '.gitignore'), 'a\n');
    const root = make({ a: '', b: '' });
    expect(await byWalk(root)).toEqual(['a', 'b']);
    expect(byNx(root)).toEqual(['a', 'b']);
    rmSync(join(root, '.git'), { recursive: true });
    expect(await byWalk(root)).toBeNull();
  });

  it('come with pipes beside them, which are not listed, and not with those of other directories', async () => {
    const root = make({ 'm/a': '', 'm/.gitignore': 'q\n', 'm/empty/x': '' });
    rmSync(join(root, 'm/empty/x'));
    for (const name of ['m/p', 'm/q', 'm/empty/r']) execFileSync('mkfifo', [join(root, name)]);
    const walked = await listByWalk(root, ['m'], new Set());
    expect([...walked!.stats.keys()].sort()).toEqual(['m/.gitignore', 'm/a']);
    expect(walked!.special.sort()).toEqual(['m/p', 'm/q']);
    expect([...walked!.directories]).toEqual(['m']);
  });
});
