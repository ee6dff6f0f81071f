import { execFileSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { foldAll } from '../../workspace/name-folding';
import { assertArtifactList, assertArtifactSize } from './artifact-paths';
import { screenArtifacts } from './write/screen-artifacts';
import type { Artifact, Target } from './write/artifact';

const artifact = (path: string, size = 1): Artifact => ({ path, size, sha256: 'a'.repeat(64), executable: false });
const nothing: Target['sent'] = { contentOf: async () => null };
const unknown: Target['sent'] = { contentOf: async () => undefined };
/** `out/sent` and `out/edited`, with the content `sent`. */
const sent: Target['sent'] = {
  contentOf: async (path) => (/(sent|edited)$/.test(path) ? { size: 4, sha256: hash('sha256', 'sent') } : null),
};
const check = (paths: string[]) => assertArtifactList(paths.map((path) => artifact(path)));

describe('a list of artifacts to download', () => {
  it('is accepted if it has plain paths inside the project', () => {
    const component = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
      .filter((name) => !/[/\0]/.test(name) && name !== '.' && name !== '..');
    fc.assert(
      fc.property(fc.array(component, { minLength: 1, maxLength: 6 }), (parts) => {
        expect(() => check([`out/${parts.join('/')}`])).not.toThrow();
      }),
    );
  });

  it('is refused if any of its paths could lead elsewhere', () => {
    const odd = fc.constantFrom('..', '.', '', 'a\0b');
    const plain = fc.constantFrom('a', 'b c', '..x', 'out');
    fc.assert(
      fc.property(fc.array(plain, { maxLength: 4 }), odd, fc.array(plain, { maxLength: 4 }), (head, bad, tail) => {
        expect(() => check([['out', ...head, bad, ...tail].join('/')])).toThrow(/list of artifacts is not valid/);
      }),
    );
    for (const path of ['a\ud800', '\udc00/a', '.g\ud83dit/config'])
      expect(() => check([path])).toThrow(/list of artifacts is not valid/);
    for (const path of ['/etc/passwd', '../a', '', '.', './a', 'a/'])
      expect(() => check([path])).toThrow(/list of artifacts is not valid/);
  });

  it.each([[['out/a', 'out/a/b']], [['out/a', 'out/a']]])(
    'is refused if no file system can have the name %j',
    (paths) => {
      expect(() => check(paths)).toThrow(/list of artifacts is not valid/);
      expect(() => check([...paths].reverse())).toThrow(/list of artifacts is not valid/);
    },
  );

  it('is refused if its directories would exhaust the memory', () => {
    const deep = 'a/'.repeat(2000);
    expect(() => assertArtifactList([artifact(`${deep}x`)])).toThrow(/nested too deeply/);
    const many = Array.from({ length: 5000 }, (_, n) => artifact(`${n}/${'abcdefgh/'.repeat(200)}x`));
    expect(() => assertArtifactList(many)).toThrow(/too many directories/);
    expect(() => assertArtifactList(many.slice(0, 100))).not.toThrow();
  });

  it('is refused over the limit, with the largest named', () => {
    const all = [artifact('out/small', 1), artifact('out/large', 100)];
    expect(() => assertArtifactSize(all, 100)).toThrow(/out\/large/);
    expect(() => assertArtifactSize(all, 101)).not.toThrow();
  });
});

describe('a file that is held back', () => {
  let top: string;
  let project: string;
  let output: string;
  beforeEach(() => {
    top = mkdtempSync(join(tmpdir(), 'nx-ec2-screen-'));
    project = join(top, 'model');
    output = join(project, 'out');
  });
  afterEach(() => rmSync(top, { recursive: true, force: true }));

  const write = (path: string, content = '') => {
    mkdirSync(dirname(join(top, path)), { recursive: true });
    writeFileSync(join(top, path), content);
  };
  const git = (...args: string[]) => execFileSync('git', ['-C', top, ...args]);
  const workspace = () => {
    git('init', '-q');
    write('nx.json', '{}');
  };
  const screen = async (paths: string[], fold?: (path: string) => string) =>
    screenArtifacts(
      paths.map((path) => artifact(`out/${path}`)),
      { output: project, sent: nothing },
      fold,
    );
  const held = async (paths: string[], fold?: (path: string) => string) =>
    (await screen(paths, fold)).heldBack.map(({ path }) => path.slice('out/'.length));

  it.each([
    [['A', 'a'], ['a']],
    [['\u00e9', 'e\u0301'], ['e\u0301']],
    [
      ['D/x', 'd/x', 'd/y'],
      ['d/x', 'd/y'],
    ],
    [['A', 'a/b'], ['a/b']],
    [['a/b', 'A'], ['A']],
    [['stra\u00dfe', 'STRASSE'], ['STRASSE']],
    [['a/b', 'a\u200b/c'], ['a\u200b/c']],
  ])('is %j on a file system that does not distinguish them: %j', async (paths, expected) => {
    expect(await held(paths, foldAll)).toEqual(expected);
    expect(await held(paths, (path) => path)).toEqual([]);
  });

  it('is one that git tracks, unless its content is the same', async () => {
    workspace();
    write('model/out/kept', 'mine');
    write('model/out/same', 'x');
    git('add', '-f', '.');
    rmSync(join(output, 'kept'));
    const same = {
      ...artifact('out/same'),
      sha256: '2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881',
    };
    const { heldBack, unchanged, accepted } = await screenArtifacts([artifact('out/kept'), same, artifact('out/new')], {
      output: project,
      sent: nothing,
    });
    expect(heldBack).toEqual([{ path: 'out/kept', why: 'git tracks the file at this path' }]);
    expect([unchanged, accepted].map((each) => each.map(({ path }) => path))).toEqual([['out/same'], ['out/new']]);
  });

  it('is one that would replace a tracked file, or a directory that holds one', async () => {
    workspace();
    write('model/out/file', 'mine');
    write('model/out/deep/x', 'mine');
    git('add', '-f', '.');
    expect((await screen(['file/x/y', 'deep', 'new'])).heldBack).toEqual([
      { path: 'out/file/x/y', why: 'git tracks the file out/file, which is in its place' },
      { path: 'out/deep', why: 'git tracks files in the directory at this path' },
    ]);
    rmSync(output, { recursive: true });
    expect(await held(['file/x', 'deep'])).toEqual(['file/x', 'deep']);
  });

  it('is one that would make a directory a git repository, together with existing files', async () => {
    write('model/out/data/refs/x');
    write('model/out/own/HEAD');
    expect(await held(['data/HEAD', 'data/config', 'own/config', 'own/x'])).toEqual(['data/HEAD', 'own/config']);
  });

  it('is not a tracked file that the run has changed, if it is unchanged here since it was sent', async () => {
    workspace();
    write('model/out/sent', 'sent');
    write('model/out/edited', 'edited since');
    write('model/out/other', 'not sent');
    git('add', '-f', '.');
    const changed = ['out/sent', 'out/edited', 'out/other'].map((path) => ({
      ...artifact(path),
      sentAs: `model/${path}`,
    }));
    const { heldBack, accepted } = await screenArtifacts(changed, { output: project, sent });
    expect(accepted.map(({ path }) => path)).toEqual(['out/sent']);
    expect(heldBack).toEqual([
      { path: 'out/edited', why: 'git tracks the file at this path, and it is not the one that was sent' },
      { path: 'out/other', why: 'git tracks the file at this path' },
    ]);
    expect((await screenArtifacts(changed, { output: project, sent: unknown })).heldBack.map(({ why }) => why)).toEqual(
      changed.map(() => 'git tracks the file at this path, and it is not known to be the one that was sent'),
    );
  });

  it('is an untracked file that was sent and edited here since', async () => {
    workspace();
    write('model/out/sent', 'sent');
    write('model/out/edited', 'edited since');
    const paths = ['out/sent', 'out/edited', 'out/absent', 'out/other'];
    write('model/out/other', 'not sent');
    const changed = paths.map((path) => ({ ...artifact(path), sentAs: `model/${path}` }));
    const { heldBack, accepted } = await screenArtifacts(changed, { output: project, sent });
    expect(accepted.map(({ path }) => path)).toEqual(['out/sent', 'out/absent', 'out/other']);
    expect(heldBack).toEqual([{ path: 'out/edited', why: 'the file at this path was changed since it was sent' }]);
    const takesEdited = { output: project, sent, takesEdited: true };
    expect((await screenArtifacts(changed, takesEdited)).heldBack).toEqual([]);
  });

  it('is an untracked file that may have been edited, unless an earlier collection wrote it', async () => {
    workspace();
    write('model/out/here', 'mine');
    write('model/out/brought', 'brought');
    const brought = { path: 'out/brought', size: 7, sha256: hash('sha256', 'brought') };
    // A later collection, which was to replace it, was killed before it did.
    write('model/out/standing', 'brought');
    const killed = { path: 'out/standing', size: 5, sha256: hash('sha256', 'newer') };
    write(
      'model/artifacts/.nx-ec2.json',
      JSON.stringify({
        files: ['out/brought', 'out/standing'],
        artifacts: [brought, killed],
        before: [{ ...brought, path: 'out/standing' }],
      }),
    );
    const paths = ['out/here', 'out/brought', 'out/standing', 'out/absent'];
    const changed = paths.map((path) => ({ ...artifact(path), sentAs: path }));
    const { heldBack, accepted } = await screenArtifacts(changed, { output: project, sent: unknown });
    expect(accepted.map(({ path }) => path)).toEqual(['out/brought', 'out/standing', 'out/absent']);
    expect(heldBack).toEqual([
      { path: 'out/here', why: 'it is not known whether the file at this path was changed since it was sent' },
    ]);
  });

  it('is a file that a submodule tracks', async () => {
    workspace();
    write('model/out/deep/x', 'mine');
    execFileSync('git', ['-C', output, 'init', '-q']);
    execFileSync('git', ['-C', output, 'add', '.']);
    expect(await held(['deep/x', 'deep/y'])).toEqual(['deep/x']);
  });

  it('is one that programs act on, unless git and Nx ignore the directory', async () => {
    workspace();
    const paths = ['project.json', 'deep/.envrc', 'setup.py', 'model.bin'];
    expect(await held(paths)).toEqual(paths.slice(0, 3));
    write('.git/info/exclude', 'out\n');
    // Nx does not know that list.
    expect(await held(paths)).toEqual(paths.slice(0, 3));
    write('.git/info/exclude');
    write('.gitignore', 'model/out/*\n!model/out/project.json\n');
    expect(await held(paths)).toEqual(['project.json']);
    write('model/.gitignore', 'out\n');
    const { heldBack, ignored } = await screen(paths);
    expect(heldBack).toEqual([]);
    expect(ignored).toEqual(paths.slice(0, 3).map((path) => `out/${path}`));
    write('.nxignore', '# again\n!model/out\n');
    expect(await held(paths)).toEqual(paths.slice(0, 3));
  });

  it('is one that test runners and package managers look for, even if git and Nx ignore the directory', async () => {
    workspace();
    write('.gitignore', 'out/\n');
    const paths = ['conftest.py', 'deep/test_x.py', 'deep/package.json', 'x_test.go', 'CLAUDE.md', 'deep/.eslintrc.js'];
    expect(await held([...paths, 'Makefile', 'model.bin', 'test/cat.png'])).toEqual(paths);
  });

  it('is a package in a package that is here, at any depth', async () => {
    workspace();
    write('.gitignore', 'out/\n');
    write('model/out/a/b/c/__init__.py');
    expect(await held(['a/b/c/d/__init__.py', 'a/b/d/e/__init__.py'])).toEqual(['a/b/c/d/__init__.py']);
  });

  it('is one whose name is too long for the file system, and no other', async () => {
    workspace();
    const long = ['x'.repeat(256), '\u00e9'.repeat(128), `${'d/'.repeat(2040)}x`];
    const fits = ['x'.repeat(255), '\u00e9'.repeat(127), 'model.bin'];
    expect(await held([...long, ...fits])).toEqual(
      process.platform === 'linux' ? long : expect.arrayContaining(long.slice(0, 2)),
    );
  });

  it('is one that programs find by its name although git ignores it', async () => {
    workspace();
    const names = ['.env', '.env.local', '.npmrc', '.venv/bin/python', 'node_modules/jest/index.js'];
    const paths = [...names, 'project.json', 'train.pyc', '__pycache__/train.cpython-312.pyc'];
    write('.gitignore', '.env*\n.npmrc\n.venv/\nnode_modules\nproject.json\n__pycache__/\n*.py[co]\n');
    expect(await held(paths)).toEqual(paths);
    // A directory that is ignored is one where no tool looks.
    write('model/.gitignore', 'out/*\n!out/.gitkeep\n');
    expect(await held(paths)).toEqual([]);
  });

  it('is never one with an ordinary name, in any directory', async () => {
    workspace();
    const ordinary = [
      'model.pth',
      'config.json',
      'tokenizer_config.json',
      '.hydra/config.yaml',
      'head',
      'checkpoint-5/optimizer.pt',
      'git',
      'a.b/c',
      'build/x',
      'README.md',
    ];
    expect(await held(ordinary)).toEqual([]);
  });
});
