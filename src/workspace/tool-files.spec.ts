import fc from 'fast-check';
import { bareRepositoryHeads, toolFile } from './tool-files';

const plain = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,8}$/).filter((name) => toolFile(name) === null);

/** The ways in which file systems and git take another name for this one. */
const spelled = (name: string) =>
  fc
    .tuple(
      fc.array(fc.boolean(), { minLength: name.length, maxLength: name.length }),
      fc.constantFrom('', '\u200c', '\ufeff', '\u206f'),
      fc.nat(name.length),
      fc.constantFrom('', '.', ' ', '. .', ':stream', '::$INDEX_ALLOCATION'),
      fc.boolean(),
    )
    .map(([upper, ignorable, at, end, isWide]) => {
      const letters = [...name].map((letter, n) => (upper[n] ? letter.toUpperCase() : letter));
      const wide = letters.map((letter) =>
        isWide && /[a-z]/.test(letter) ? String.fromCodePoint(letter.codePointAt(0)! + 0xfee0) : letter,
      );
      wide.splice(at, 0, ignorable);
      return wide.join('') + end;
    });

describe('a file that programs act on', () => {
  it('is one in a directory of version control, at any depth and however its name is spelled', () => {
    const control = fc.constantFrom('.git', '.hg', '.svn', '.nx', 'git~1', 'svn~12').chain(spelled);
    fc.assert(
      fc.property(
        fc.array(plain, { maxLength: 3 }),
        control,
        fc.array(plain, { maxLength: 3 }),
        (above, name, below) => {
          expect(toolFile([...above, name, ...below].join('/'))?.always).toBe(true);
          expect(toolFile([...above, name, ...below].join('\\'))?.always).toBe(true);
        },
      ),
    );
  });

  it('is a manifest or a dot file, at any depth and however its name is spelled', () => {
    const names = [
      'project.json',
      'package.json',
      'nx.json',
      '.envrc',
      '.env.local',
      '.npmrc',
      '.yarnrc.yml',
      'pyproject.toml',
    ];
    names.push(
      'conftest.py',
      '.pre-commit-config.yaml',
      'ec2.config.json',
      'jest.config.ts',
      'eslint.config.mjs',
      'tsconfig.base.json',
    );
    names.push(
      '.vscode',
      '.idea',
      '.husky',
      '.devcontainer',
      '.github',
      'test_x.py',
      'a.spec.ts',
      'sitecustomize.py',
      'Makefile',
    );
    const tool = fc.constantFrom(...names.map((name) => name.toLowerCase())).chain(spelled);
    fc.assert(
      fc.property(fc.array(plain, { maxLength: 3 }), tool, fc.array(plain, { maxLength: 2 }), (above, name, below) => {
        expect(toolFile([...above, name, ...below].join('/'))).not.toBeNull();
      }),
    );
  });

  it('is one that changes what is ignored, wherever it lies', () => {
    for (const name of ['.gitignore', '.nxignore', '.gitattributes', 'a/.gitmodules', '.hydra/.gitignore'])
      expect(toolFile(name)?.always).toBe(true);
  });

  it('is told of any name there may be', () => {
    const name = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('\n', '.\n', '\ud800', 'test_\n.py', '.git\n'),
    );
    fc.assert(fc.property(fc.array(name), (parts) => expect(() => toolFile(parts.join('/'))).not.toThrow()));
    expect(toolFile('test_\n.py')).not.toBeNull();
  });

  it('is none with a name that nothing acts on', () => {
    for (const name of [
      'model.bin',
      'a~1',
      'git',
      'nx',
      'x.git',
      'gitx~1',
      '.hydra/config.yaml',
      'weights.pth',
      'config.json',
    ])
      expect(toolFile(name)).toBeNull();
  });
});

it('finds the file that makes a directory a git repository', () => {
  const paths = [
    'a/HEAD',
    'a/refs/x',
    'b/HEAD',
    'c/head',
    'c/commondir',
    'HEAD',
    'objects/1',
    'd/Head/x',
    'd/objects/y',
  ];
  expect([...bareRepositoryHeads(paths)].sort()).toEqual(['HEAD', 'a/HEAD', 'c/head']);
});
