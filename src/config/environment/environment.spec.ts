import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describeEnvironment, detectEnvironment, environmentFiles } from './environment';
import { environmentChoice } from './environment-choice';

const PACKAGE = '[project]\nname = "x"\n';
const UV_ROOT = '[tool.uv.workspace]\nmembers = ["apps/*", "libs/*"]\n';

describe('the Python environment of a project', () => {
  let workspaceRoot: string;
  beforeEach(() => void (workspaceRoot = mkdtempSync(join(tmpdir(), 'environment-'))));
  afterEach(() => rmSync(workspaceRoot, { recursive: true }));

  const write = (files: Record<string, string>) => {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(workspaceRoot, dirname(path)), { recursive: true });
      writeFileSync(join(workspaceRoot, path), text);
    }
  };
  const find = (files: Record<string, string>, train: Record<string, unknown> = {}) => {
    write(files);
    const project = { workspaceRoot, projectRoot: 'python/apps/model', choice: environmentChoice(train) };
    return detectEnvironment({ ...project, paths: Object.keys(files) });
  };
  const detect = (...of: Parameters<typeof find>) => find(...of).environment;
  const travels = (files: Record<string, string>, train: Record<string, unknown> = {}) => {
    write(files);
    return environmentFiles({ workspaceRoot, projectRoot: 'python/apps/model', choice: environmentChoice(train) });
  };

  it.each(['uv.lock', 'python/uv.lock', 'python/apps/uv.lock', 'python/apps/model/uv.lock'])(
    'is locked by %s, in any directory above its dependency file',
    (lock) => {
      expect(detect({ 'python/apps/model/pyproject.toml': PACKAGE, [lock]: '' })).toEqual({
        manager: 'uv',
        root: 'python/apps/model',
        file: 'pyproject.toml',
        locked: true,
      });
    },
  );

  it('is not locked by a lock file in a sibling directory', () => {
    const found = detect({ 'python/apps/model/pyproject.toml': PACKAGE, 'python/apps/other/uv.lock': '' });
    expect(found).toMatchObject({ manager: 'uv', locked: false });
  });

  it.each(['environment.yml', 'environment.yaml', 'conda.yaml', 'conda.yml'])(
    'is made with the nearest dependency file (%s), and names the others',
    (file) => {
      const found = find({ 'requirements.txt': '', [`python/${file}`]: '' });
      expect(found.environment).toEqual({ manager: 'conda', root: 'python', file, locked: false });
      expect(found.unused).toEqual(['requirements.txt']);
      expect(describeEnvironment(found)).toBe(`Environment: conda, from python/${file} (not used: requirements.txt)`);
    },
  );

  it('includes the dependency file and the lock file of a uv workspace below the root, and no other dependency file', () => {
    const files = {
      'python/apps/model/pyproject.toml': PACKAGE,
      'python/pyproject.toml': UV_ROOT,
      'python/uv.lock': '',
      'python/uv.toml': '',
      'python/.python-version': '',
      'requirements.txt': '',
      'pyproject.toml': PACKAGE,
      'poetry.lock': '',
      '.python-version': '',
    };
    const used = ['.python-version', 'pyproject.toml', 'uv.lock', 'uv.toml'].map((name) => `python/${name}`);
    const expected = ['python/.python-version', 'python/apps/model/pyproject.toml', ...used.slice(1)];
    expect(travels(files)).toEqual(expected);
    expect(describeEnvironment(find(files))).toBe(
      'Environment: uv, from python/apps/model/pyproject.toml, locked by python/uv.lock (not used: pyproject.toml, requirements.txt)',
    );
  });

  it('includes the dependency file of a uv workspace without a lock file, since it names the members', () => {
    const files = { 'python/apps/model/pyproject.toml': PACKAGE, 'python/pyproject.toml': UV_ROOT };
    expect(travels(files)).toEqual(Object.keys(files));
  });

  it("includes Poetry's dependency file, lock file and settings above the project", () => {
    const poetry = { 'python/poetry.lock': '', 'python/poetry.toml': '', 'python/pyproject.toml': '[tool.poetry]\n' };
    expect(travels({ ...poetry, 'pyproject.toml': '', 'uv.lock': '' })).toEqual(Object.keys(poetry));
    expect(detect(poetry)).toEqual({ manager: 'poetry', root: 'python', file: 'pyproject.toml', locked: true });
  });

  it('includes the requirements files that its own one includes, anywhere in the workspace', () => {
    const files = {
      'base.txt': '-c python/limits.txt\n-r ../outside.txt\n',
      'python/apps/model/requirements.txt': '-r ../../../base.txt\n-r missing.txt\n',
      'python/limits.txt': 'torch<3\n-r apps/model/requirements.txt\n',
    };
    expect(travels({ ...files, 'requirements.txt': '' })).toEqual(Object.keys(files));
  });

  it('includes the files that its own set-up command names', () => {
    const setup = ['pip install -r ../../../requirements.txt --constraint=../../limits.txt -e .', 'pip install x==1'];
    const files = { 'requirements.txt': '-r more.txt', 'more.txt': '', 'python/limits.txt': '', 'other.txt': '' };
    const expected = ['more.txt', 'python/limits.txt', 'requirements.txt'];
    expect(travels(files, { command: 'node train.js', setup })).toEqual(expected);
  });

  it('is not described by a file that is not sent', () => {
    write({ 'python/apps/model/requirements.txt': '', 'requirements.txt': '' });
    const project = { workspaceRoot, projectRoot: 'python/apps/model', choice: environmentChoice({}) };
    const isOwn = (path: string) => path.startsWith('python/');
    expect(environmentFiles(project, isOwn)).toEqual(['requirements.txt']);
    expect(detectEnvironment({ ...project, paths: ['requirements.txt'] }).environment.root).toBe('');
  });

  describe('of a command', () => {
    const ROOT = { 'requirements.txt': 'torch\n' };
    const OWN = { 'python/apps/model/requirements.txt': 'torch\n' };

    it.each(['node train.js', '/usr/bin/node train.js', 'npm run train', 'Rscript x.R', 'julia x.jl', './train'])(
      'that is not Python has none from a dependency file above: %s',
      (command) => {
        expect(detect(ROOT, { command }).manager).toBe('none');
        expect(travels(ROOT, { command })).toEqual([]);
      },
    );

    it.each([
      'python x.py',
      'python3.12 -m x',
      'torchrun x.py',
      'uv run x.py',
      'bash train.sh',
      '../.venv/bin/python x',
    ])('that may be Python is made: %s', (command) => {
      expect(detect(ROOT, { command }).manager).toBe('pip');
      expect(travels(ROOT, { command })).toEqual(['requirements.txt']);
    });

    it.each([
      ['#!/usr/bin/env python3\n', 'pip', 'pip'],
      ['#!/bin/bash\npython x.py\n', 'pip', 'pip'],
      ['#!/usr/bin/env -S node --x\n', 'none', 'none'],
      ['\x7fELF\n', 'none', 'pip'],
    ])("of the project's own is judged by its first line: %j", (text, byRoot, byOwn) => {
      const program = { 'python/apps/model/train': text };
      expect(detect({ ...program, ...ROOT }, { command: './train' }).manager).toBe(byRoot);
      expect(detect({ ...program, ...OWN }, { command: './train' }).manager).toBe(byOwn);
    });

    it('is made if it is set, whatever the command is', () => {
      expect(detect(ROOT, { command: 'node x.js', environment: 'pip' }).manager).toBe('pip');
      expect(detect(ROOT, { command: './train', setup: 'pip install torch' }).manager).toBe('pip');
      expect(detect(ROOT, { command: 'python x.py', environment: 'none' }).manager).toBe('none');
    });
  });

  describe('of a tool that nx-ec2 does not run', () => {
    const HATCH = `${PACKAGE}[tool.hatch.envs.default]\ndependencies = ["torch"]\n`;
    it.each([
      ['pdm sync', { 'python/pdm.lock': '', 'python/pyproject.toml': PACKAGE }],
      ['pixi install', { 'python/pixi.lock': '', 'python/pixi.toml': '' }],
      ['pixi install', { 'python/pyproject.toml': '[tool.pixi.project]\n' }],
      ['hatch env create', { 'python/pyproject.toml': HATCH }],
    ])('is refused with the set-up command to write: %s', (setup, files) => {
      expect(() => find(files)).toThrow(
        expect.objectContaining({ code: 'ENVIRONMENT_UNSUPPORTED', next: expect.stringContaining(`"${setup}"`) }),
      );
      expect(travels(files)).toEqual(Object.keys(files).sort());
      const tool = setup.split(' ')[0];
      const advises = (train: Record<string, unknown>, command: string) =>
        expect(() => find(files, train)).toThrow(
          expect.objectContaining({ next: expect.stringContaining(`"train.command": "${command}" in`) }),
        );
      advises({ script: 'my train.py' }, `${tool} run python 'my train.py'`);
      advises({ command: 'python -m train --lr 0.1' }, `${tool} run python -m train --lr 0.1`);
      expect(detect(files, { setup, command: `${tool} run python x.py` }).manager).toBe('none');
      expect(detect(files, { environment: 'none' }).manager).toBe('none');
    });

    it('is refused with the set-up command to write if the command runs pdm, which sets up nothing by itself', () => {
      const files = { 'python/pdm.lock': '', 'python/pyproject.toml': PACKAGE };
      const expected = {
        next: expect.stringContaining('"train.setup": "pdm sync" and "train.command": "pdm run x.py" in'),
      };
      expect(() => find(files, { command: 'pdm run x.py' })).toThrow(expect.objectContaining(expected));
    });

    it('is made with uv if such a tool only builds the package', () => {
      expect(detect({ 'pyproject.toml': `${PACKAGE}[tool.hatch.build]\n[tool.pdm]\n` }).manager).toBe('uv');
    });
  });

  it('is ambiguous if there are two lock files, unless it is set', () => {
    const files = { 'pyproject.toml': PACKAGE, 'uv.lock': '', 'poetry.lock': '' };
    expect(() => find(files)).toThrow(expect.objectContaining({ code: 'ENVIRONMENT_AMBIGUOUS' }));
    expect(detect(files, { environment: 'uv' }).manager).toBe('uv');
  });

  it('names a dependency file that is not valid TOML, and still finds the files for the project graph', () => {
    const files = { 'python/apps/model/pyproject.toml': '[project' };
    expect(() => find(files)).toThrow(expect.objectContaining({ code: 'TOML' }));
    expect(travels(files)).toEqual([]);
  });
});
