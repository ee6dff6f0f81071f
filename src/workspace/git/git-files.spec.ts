import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ProjectGraph } from '@nx/devkit';
import { allOutputs } from '../../config/settings/outputs';
import fc from 'fast-check';
import { environmentChoice } from '../../config/environment/environment-choice';
import { findFiles } from '../files/find-files';
import { gitFiles, trackedBelow } from './git-files';
import type { FilesInput } from '../files/types';

describe('files of a repository', () => {
  const environment = { ...process.env };
  let workspaceRoot: string;

  beforeEach(() => {
    workspaceRoot = mkdtempSync(join(tmpdir(), 'nx-ec2-git-'));
    for (const name of Object.keys(process.env)) if (name.startsWith('GIT_')) delete process.env[name];
    Object.assign(process.env, { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' });
  });
  afterEach(() => {
    process.env = { ...environment };
    rmSync(workspaceRoot, { recursive: true });
  });

  const git = (...args: string[]) =>
    execFileSync('git', ['-C', workspaceRoot, ...args], { stdio: 'pipe', env: { ...process.env } }).toString();
  const write = (path: string, text = '') => {
    mkdirSync(dirname(join(workspaceRoot, path)), { recursive: true });
    writeFileSync(join(workspaceRoot, path), text);
  };
  const link = (path: string, target: string) => {
    mkdirSync(dirname(join(workspaceRoot, path)), { recursive: true });
    symlinkSync(target, join(workspaceRoot, path));
  };
  const track = () => {
    git('init', '-q');
    git('add', '-A', '-f');
  };

  /** Finds the files of a project where Nx lists `listed`. */
  async function find(listed: string[], options: Partial<FilesInput> & { roots?: Record<string, string> } = {}) {
    const roots = options.roots ?? { model: 'model' };
    const nodes = Object.entries(roots).map(([name, root]) => [name, { name, type: 'lib', data: { root } }]);
    const found = await findFiles(
      {
        workspaceRoot,
        projectName: 'model',
        include: [],
        exclude: [],
        dependencies: true,
        outputs: allOutputs(),
        environment: environmentChoice({}),
        ...options,
        projectGraph: { nodes: Object.fromEntries(nodes), dependencies: {} } as ProjectGraph,
      },
      async () => listed,
    );
    return { ...found, left: Object.fromEntries(found.leftOut.map(({ path, why }) => [path, why])) };
  }

  it('are sent if git tracks them, even if .gitignore matches them and Nx does not list them', async () => {
    write('.gitignore', '*.csv\n');
    write('model/train.py');
    write('model/data/train.csv');
    track();
    write('model/data/ignored.csv');
    const { paths, warnings } = await find(['model/train.py']);
    expect(paths).toEqual(['model/data/train.csv', 'model/train.py']);
    expect(warnings).toEqual([]);
  });

  it('are sent from an output if git tracks them, unlike files that trainings left there', async () => {
    write('model/train.py');
    write('model/models/net.py');
    track();
    write('model/models/weights.bin');
    const listed = ['model/train.py', 'model/models/net.py', 'model/models/weights.bin'];
    const { paths, left } = await find(listed, { outputs: allOutputs(['models/']) });
    expect(paths).toEqual(['model/models/net.py', 'model/train.py']);
    expect(left).toEqual({ 'model/models/weights.bin': "the trainings' output" });
    // A watch looks at these.
    expect(await trackedBelow(workspaceRoot, 'model/models')).toEqual(['model/models/net.py']);
    expect(await trackedBelow(workspaceRoot, 'model/absent')).toEqual([]);
  });

  it('are not sent if sync.exclude or .nxignore leaves them out, even if git tracks them', async () => {
    write('.nxignore', 'model/raw/\n');
    write('model/.nxignore', '*.log\n!keep.log\n');
    for (const path of ['train.py', 'raw/a.csv', 'x.log', 'keep.log', 'big.bin']) write(`model/${path}`);
    track();
    const { paths, left } = await find(['model/train.py'], { exclude: ['big.bin'] });
    expect(paths).toEqual(['model/keep.log', 'model/train.py']);
    expect(left).toEqual({
      'model/.nxignore': 'for Nx alone: "sync.include" sends it',
      'model/raw/a.csv': '.nxignore',
      'model/x.log': '.nxignore',
      'model/big.bin': 'sync.exclude',
    });
  });

  it('that a .nxignore leaves out are found among more files than one command line of git can hold', async () => {
    write('model/.nxignore', '*.log\n');
    write('model/train.py');
    for (let at = 0; at < 450; at++) write(`model/logs/${at}.log`);
    write('model/z.csv');
    track();
    const { paths, leftOut } = await find(['model/train.py']);
    expect(paths).toEqual(['model/train.py', 'model/z.csv']);
    expect(leftOut.filter(({ why }) => why === '.nxignore')).toHaveLength(450);
  });

  describe('that are symbolic links', () => {
    it('are sent if their target is sent', async () => {
      write('model/configs_v2/size.json');
      link('model/configs', 'configs_v2');
      track();
      link('model/untracked', 'configs_v2');
      const { paths, warnings } = await find(['model/configs_v2/size.json']);
      expect(paths).toEqual(['model/configs', 'model/configs_v2/size.json', 'model/untracked']);
      expect(warnings).toEqual([]);
    });

    it('are sent, and named if their target is not sent', async () => {
      write('model/train.py');
      write('shared/common/rate.json');
      link('model/common', '../shared/common');
      link('model/gone', 'nothing');
      track();
      const { paths, warnings } = await find(['model/train.py']);
      expect(paths).toEqual(['model/common', 'model/gone', 'model/train.py']);
      expect(warnings).toEqual([
        'the symbolic link model/common leads to shared/common, which is not sent: add {workspaceRoot}/shared/common to "sync.include"',
        'the symbolic link model/gone leads to model/nothing, which does not exist',
      ]);
      const included = await find(['model/train.py'], { include: ['{workspaceRoot}/shared/common'] });
      expect(included.warnings).toEqual(['the symbolic link model/gone leads to model/nothing, which does not exist']);
    });

    it('are named and not sent if they lead out of the workspace or through another link', async () => {
      write('model/train.py');
      write('model/v2/a/x.json');
      link('model/latest', 'v2');
      link('model/x', 'latest/a');
      link('model/absolute', '/etc');
      link('model/escape', '../../elsewhere');
      link('model/crossing', 'v2/../../..');
      track();
      const { paths, left, warnings } = await find(['model/train.py', 'model/v2/a/x.json']);
      expect(paths).toEqual(['model/latest', 'model/train.py', 'model/v2/a/x.json']);
      expect(left).toEqual({
        'model/absolute': 'a symbolic link whose target is absolute',
        'model/escape': 'a symbolic link whose target leads out of the workspace',
        'model/crossing': 'a symbolic link whose target has a ".." after a name',
        'model/x': 'a symbolic link that leads through another, model/latest',
      });
      expect(warnings).toEqual([
        'not sent: 4 paths (model/absolute, model/crossing, model/escape, model/x). To see why: remote-sync --dryRun',
      ]);
    });
  });

  it('of a nested project are left out if it is no dependency, and the project is named', async () => {
    write('train.py');
    write('libs/a/a.py');
    track();
    const { paths, left, warnings } = await find(['train.py'], { roots: { model: '.', a: 'libs/a' } });
    expect(paths).toEqual(['train.py']);
    expect(warnings).toEqual([
      'not sent: 1 file of 1 project in directories of model or its dependencies (a), on which it does not depend. To send them, add "implicitDependencies" in project.json or "sync.include". To silence this warning, add their directories to "sync.exclude".',
    ]);
    expect(left).toEqual({ 'libs/a/a.py': 'it belongs to the project a, on which this one does not depend' });
  });

  it('of a nested project are named only if no pattern says whether they are sent', async () => {
    for (const path of ['train.py', 'libs/a/a.py', 'libs/a/deep/b.py', 'libs/(b)/b.py']) write(path);
    track();
    const roots = { model: '.', a: 'libs/a', b: 'libs/(b)' };
    const excluded = await find(['train.py'], { roots, exclude: ['libs/**'] });
    expect(excluded.warnings).toEqual([]);
    expect(Object.values(excluded.left)).toEqual(Array(3).fill('sync.exclude'));
    const included = await find(['train.py'], { roots, include: ['libs/a'], exclude: ['libs/(b)'] });
    expect(included.warnings).toEqual([]);
    expect(included.paths).toEqual(['libs/a/a.py', 'libs/a/deep/b.py', 'train.py']);
    const partly = await find(['train.py'], { roots, include: ['libs/a/deep'] });
    expect(partly.paths).toContain('libs/a/deep/b.py');
    expect(partly.warnings).toEqual([expect.stringMatching(/^not sent: 2 files of 2 projects .* \(a, b\), /)]);
  });

  it('do not include an empty submodule, which is named', async () => {
    write('model/train.py');
    mkdirSync(join(workspaceRoot, 'model/vendor'));
    track();
    git('update-index', '--add', '--cacheinfo', `160000,${'1'.repeat(40)},model/vendor`);
    const { left, warnings } = await find(['model/train.py']);
    expect(left).toEqual({ 'model/vendor': 'an empty submodule: git submodule update --init' });
    expect(warnings).toEqual(['not sent: 1 path (model/vendor). To see why: remote-sync --dryRun']);
    write('model/vendor/v.py');
    expect((await find(['model/train.py'])).warnings).toEqual([]);
  });

  it('that a sparse checkout leaves out are named, whether Nx lists them or not', async () => {
    for (const path of ['train.py', 'data/a.csv', 'data/b.csv', 'raw/c.csv', 'gone.py']) write(`model/${path}`);
    write('other/d.csv');
    track();
    git('-c', 'user.name=a', '-c', 'user.email=a@b.c', 'commit', '-qm', 'all');
    git('sparse-checkout', 'set', '--no-cone', '/*', '!/model/data/b.csv', '!/model/raw/', '!/other/');
    rmSync(join(workspaceRoot, 'model/gone.py'));
    for (const listed of [[], ['model/data/b.csv']]) {
      const { left, warnings } = await find(['model/train.py', 'model/data/a.csv', ...listed], { exclude: ['raw/**'] });
      expect(left).toEqual({ 'model/data/b.csv': 'not checked out: git sparse-checkout add' });
      expect(warnings).toContain('not sent: 1 path (model/data/b.csv). To see why: remote-sync --dryRun');
    }
    write('model/data/b.csv');
    const { paths, left } = await find(['model/train.py', 'model/data/a.csv'], { exclude: ['raw/**'] });
    expect([paths, left]).toEqual([['model/data/a.csv', 'model/data/b.csv', 'model/train.py'], {}]);
  });

  it('with names that are not UTF-8 are named', async () => {
    write('model/train.py');
    const name = Buffer.concat([Buffer.from(join(workspaceRoot, 'model/caf')), Buffer.from([0xe9])]);
    writeFileSync(name, '');
    const untracked = await find(['model/train.py']);
    expect(untracked.paths).toEqual(['model/train.py']);
    track();
    const { left, warnings } = await find(['model/train.py']);
    expect(left).toEqual({ 'model/caf\ufffd': 'its name is not valid UTF-8' });
    expect(warnings).toEqual(['not sent: 1 path (model/caf\ufffd). To see why: remote-sync --dryRun']);
    rmSync(name);
  });

  it('do not include pipes, which are named and not opened', async () => {
    write('model/train.py');
    execFileSync('mkfifo', [join(workspaceRoot, 'model/pipe')]);
    git('init', '-q');
    git('add', 'model/train.py');
    const { paths, left, warnings } = await find(['model/train.py']);
    expect(paths).toEqual(['model/train.py']);
    expect(left).toEqual({ 'model/pipe': 'neither a file nor a directory' });
    expect(warnings).toEqual(['not sent: 1 path (model/pipe). To see why: remote-sync --dryRun']);
  });

  it('are those that Nx lists if there is no repository, or no git', async () => {
    write('model/train.py');
    const outside = [await gitFiles(workspaceRoot, ['model']), await find(['model/train.py'])];
    track();
    process.env.PATH = workspaceRoot;
    const without = [await gitFiles(workspaceRoot, ['model']), await find(['model/train.py'])];
    for (const found of [outside, without])
      expect(found).toMatchObject([null, { paths: ['model/train.py'], warnings: [] }]);
  });

  it('are found if the repository belongs to another user', async () => {
    write('.gitignore', '*.csv\n');
    write('model/train.csv');
    track();
    process.env.GIT_TEST_ASSUME_DIFFERENT_OWNER = '1';
    expect(() => git('ls-files')).toThrow(/dubious ownership/);
    const { paths, warnings } = await find([]);
    expect(paths).toEqual(['model/train.csv']);
    expect(warnings).toEqual([]);
  });

  it('are those that Nx lists if git fails, and the failure is named', async () => {
    write('model/train.py');
    track();
    writeFileSync(join(workspaceRoot, '.git/index'), 'not an index');
    const { paths, warnings } = await find(['model/train.py']);
    expect(paths).toEqual(['model/train.py']);
    expect(warnings).toEqual([
      expect.stringMatching(/^git could not list the files, so only those that Nx lists are sent: .*index/),
    ]);
  });

  it('are listed without running a program that the repository names', async () => {
    write('model/train.py');
    track();
    write('hook.sh', '#!/bin/sh\ntouch "$(dirname "$0")/ran"\n');
    chmodSync(join(workspaceRoot, 'hook.sh'), 0o755);
    git('config', 'core.fsmonitor', join(workspaceRoot, 'hook.sh'));
    await find(['model/train.py']);
    expect(existsSync(join(workspaceRoot, 'ran'))).toBe(false);
    git('status');
    expect(existsSync(join(workspaceRoot, 'ran'))).toBe(true);
  });

  it('are found below a directory whose name looks like a pattern or an option', async () => {
    const name = fc
      .array(fc.constantFrom(...':(){}[]!*?-"\\ \t\n^é'), { minLength: 1, maxLength: 5 })
      .map((characters) => characters.join(''));
    track();
    await fc.assert(
      fc.asyncProperty(name, name, async (root, file) => {
        write(`${root}/${file}`);
        write(`other/${file}`);
        git('add', '-A');
        const found = (await gitFiles(workspaceRoot, [root]))!;
        expect([...found.tracked]).toEqual([`${root}/${file}`]);
        rmSync(join(workspaceRoot, root), { recursive: true });
      }),
      { numRuns: 15 },
    );
  });
});
