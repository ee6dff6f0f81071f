import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import fc from 'fast-check';
import { bareRepositoryFiles, toolFile } from './tool-files';

const plain = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,8}$/).filter((name) => toolFile(name) === null);

/** The ways in which file systems and git take another name for this one. */
const spelled = (name: string) =>
  fc
    .tuple(
      fc.array(fc.boolean(), { minLength: name.length, maxLength: name.length }),
      fc.constantFrom('', '\u200c', '\ufeff', '\u206f', '\u00ad', '\u200b', '\u2060', '\ufe0f', '\u{e0041}'),
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

/** Which of some files the test runners of node and Python run when they start in the directory above. */
function ranBy(paths: readonly string[]): string[] {
  const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-runners-'));
  const log = join(directory, 'log');
  try {
    writeFileSync(log, '');
    for (const path of paths) {
      mkdirSync(dirname(join(directory, path)), { recursive: true });
      writeFileSync(
        join(directory, path),
        path.endsWith('.py')
          ? `open(${JSON.stringify(log)}, 'a').write(__file__ + '\\n')\n`
          : `require('node:fs').appendFileSync(${JSON.stringify(log)}, __filename + '\\n');\n`,
      );
    }
    spawnSync(process.execPath, ['--test'], { cwd: directory, env: { PATH: process.env.PATH } });
    spawnSync('python3', ['-B', '-m', 'unittest'], { cwd: directory });
    const ran = readFileSync(log, 'utf8').split('\n').filter(Boolean);
    return ran.map((path) => relative(realpathSync(directory), path));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

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

  it('is a project file or a dot file, at any depth and however its name is spelled', () => {
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
    names.push(
      'jupyter_notebook_config.py',
      'gunicorn.conf.py',
      'ansible.cfg',
      'MLproject',
      'main.tf.json',
      'build.ninja',
      'gulpfile.mjs',
      'karma.conf.ts',
      'package.json5',
      'git.exe',
      'npx.cmd',
      'nodemon.json',
      'mkdocs.yml',
      'pipfile.lock',
      'tox.toml',
      'pylintrc.toml',
      'gems.rb',
      'Makefile.toml',
      'SConscript',
      'init.gradle',
      'gatsby-node.mjs',
      'dev.Dockerfile',
      'Procfile.dev',
      'dangerfile.ts',
      'train.so',
      'train.cpython-312-x86_64-linux-gnu.so',
    );
    const tool = fc.constantFrom(...names.map((name) => name.toLowerCase())).chain(spelled);
    fc.assert(
      fc.property(fc.array(plain, { maxLength: 3 }), tool, fc.array(plain, { maxLength: 2 }), (above, name, below) => {
        expect(toolFile([...above, name, ...below].join('/'))).not.toBeNull();
      }),
    );
  });

  it.each(['BUILD', 'WORKSPACE'])('is %s if it is a file, and not if it is a directory', (name) => {
    expect(toolFile(`out/${name}`)).not.toBeNull();
    expect(toolFile(`out/${name}/model.bin`)).toBeNull();
  });

  it('is one that test runners and package managers find in ignored directories too', () => {
    const names = [
      'conftest.py',
      'test_x.py',
      'x_test.py',
      'x_test.go',
      'a.spec.ts',
      'a_test.mts',
      'test.js',
      '__tests__',
    ];
    names.push('package.json', 'package.yaml', 'pyproject.toml', 'Cargo.toml', 'go.mod', 'x.go', 'BUILD.bazel');
    names.push('BUCK', 'BUILD.pants', 'x_test.exs', 'x_test.rb', 'x_spec.rb', 'x.bats', 'XTest.php', 'x-spec.ts');
    names.push('.eslintrc.js', '.eslintrc', '.stylelintrc.cjs', '.markdownlint-cli2.cjs', '.prettierrc.json');
    names.push('.rubocop.yml', '.sqlfluff', '.lintstagedrc', 'eslint.config.js', 'prettier.config.mjs', 'cspell.json');
    names.push('CLAUDE.md', 'CLAUDE.local.md', 'AGENTS.md', 'AGENTS.override.md', 'GEMINI.md', 'QWEN.md', 'SKILL.md');
    names.push('copilot-instructions.md', 'a.instructions.md', 'mcp.json', '.mcp.json', 'opencode.json', 'crush.json');
    names.push('.claude', '.cursorrules', '.cursor', '.windsurfrules', '.aider.conf.yml');
    const searched = fc.constantFrom(...names.map((name) => name.toLowerCase())).chain(spelled);
    fc.assert(
      fc.property(fc.array(fc.oneof(plain, fc.constant('venv')), { maxLength: 3 }), searched, (above, name) => {
        expect(toolFile([...above, name].join('/'))).toMatchObject({ always: false, searched: true });
      }),
    );
    for (const name of ['Makefile', 'venv/x', '.envrc', 'train.pyc']) expect(toolFile(name)?.searched).toBeUndefined();
  });

  it('is what node and Python run of an ignored directory', () => {
    const stems = ['test', 'tests', 'x', 'test-x', 'x-test', 'x.test', 'x_test', 'test_x', 'testx', '__init__'];
    const files = ['', 'test/', 'test/sub/', 'package/'].flatMap((at) =>
      stems.flatMap((stem) => ['cjs', 'py', 'png', 'txt'].map((extension) => `out/${at}${stem}.${extension}`)),
    );
    // A package and a module of one name are an error to Python.
    const all = files.filter((path) => !path.endsWith('/test.py'));
    expect(ranBy(all)).toEqual(
      expect.arrayContaining(['out/test-x.cjs', 'out/test/sub/x.cjs', 'out/__init__.py', 'out/test/testx.py']),
    );
    expect(ranBy(all.filter((path) => !toolFile(path)?.searched))).toEqual([]);
  });

  it('is not what lies in a directory for tests, but what runners run there', () => {
    for (const path of ['test/cat.png', 'data/test/labels.csv', 'tests/x.json', 'spec/a.npy', 't/x.pt', 'test/x.py'])
      expect(toolFile(path)).toBeNull();
    for (const path of ['test/a.js', 'data/test/deep/a.mts', 'tests/a.rb', 'e2e/a.ts', 't/a.t', 'Test/A.JS'])
      expect(toolFile(path)?.searched).toBe(true);
  });

  it('is a package directly below the project, not one of a saved model', () => {
    expect(toolFile('out/__init__.py')?.searched).toBe(true);
    expect(toolFile('mlruns/0/model/code/package/__init__.py')).toBeNull();
  });

  it.each([
    ...[
      'bin/activate',
      'env/bin/python',
      'Jamroot',
      'gulpfile.babel.js',
      'Setup.hs',
      'rules.mk',
      'conf.py',
      'manage.py',
    ],
    ...['build.cake', 'phpstan.neon', '_targets.R', 'renv/activate.R', 'web.config', 'php.ini', 'knexfile.js'],
    ...['plopfile.mjs'],
  ])('is %s', (path) => expect(toolFile(path)).not.toBeNull());

  it('is one that decides an environment, in the directory of the project only', () => {
    for (const name of ['requirements.txt', 'environment.yml', 'Conda.yaml']) {
      expect(toolFile(name)).not.toBeNull();
      expect(toolFile(`mlruns/0/model/${name}`)).toBeNull();
    }
  });

  it('is one that changes what is ignored, at any place', () => {
    for (const name of ['.gitignore', '.nxignore', '.gitattributes', 'a/.gitmodules', '.hydra/.gitignore'])
      expect(toolFile(name)?.always).toBe(true);
  });

  it('is one whose name NTFS or Windows reads as another', () => {
    for (const name of ['GITIGN~1', 'gitmod~1', 'gi7eba~1', 'a/gitatt~2'])
      expect(toolFile(name, 'linux')?.always).toBe(true);
    for (const name of [
      'PROJEC~1.JSO',
      'a/train.py.',
      'train.py ',
      'train.py::$DATA',
      'a/nul',
      'COM1.txt',
      'a~1',
      'COM¹',
      'lpt².txt',
      'CONIN$',
    ])
      expect(toolFile(name, 'win32')?.always).toBe(true);
    for (const name of ['train.py', 'nullable.txt', 'epoch=1.ckpt', 'a.b/c~d'])
      expect(toolFile(name, 'win32')).toBeNull();
  });

  it('is recognized without an error for any name', () => {
    const name = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('\n', '.\n', '\ud800', 'test_\n.py', '.git\n'),
    );
    fc.assert(fc.property(fc.array(name), (parts) => expect(() => toolFile(parts.join('/'))).not.toThrow()));
    expect(toolFile('test_\n.py')).not.toBeNull();
  });

  it('is none whose name no program acts on', () => {
    for (const name of [
      'model.bin',
      'a~1',
      'git',
      'nx',
      'x.git',
      'gitx~1',
      '.hydra/config.yaml',
      'weights.pth',
      'build.log',
      'test.txt',
      'test_predictions.csv',
      'python/x.bin',
      'agents.json',
      'gemini.pt',
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
  expect([...bareRepositoryFiles(paths)].sort()).toEqual(['HEAD', 'a/HEAD', 'c/head']);
});

it('finds files that would complete a partial git repository in a directory', () => {
  const there = new Set(['a/HEAD', 'b/refs']);
  const isThere = (path: string) => there.has(path);
  const paths = [
    'a/objects/1',
    'a/Config',
    'a/hooks/post-checkout',
    'a/x',
    'b/HEAD',
    'c/HEAD',
    'c/config',
    'x/a/config',
  ];
  expect([...bareRepositoryFiles(paths, isThere)].sort()).toEqual([
    'a/Config',
    'a/hooks/post-checkout',
    'a/objects/1',
    'b/HEAD',
  ]);
});
