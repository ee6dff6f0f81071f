import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { editedTrackedFiles, trackedFiles } from './tracked';

describe('the files that git tracks below a directory', () => {
  let root: string;
  beforeEach(() => (root = mkdtempSync(join(tmpdir(), 'nx-ec2-tracked-'))));
  afterEach(() => rmSync(root, { recursive: true, force: true }));
  const commit = (repository: string, ...paths: string[]) => {
    for (const path of paths) {
      mkdirSync(join(repository, path, '..'), { recursive: true });
      writeFileSync(join(repository, path), path);
    }
    const git = (...args: string[]) =>
      execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.invalid', ...args], { cwd: repository });
    git('init', '-q');
    git('add', ...paths);
    git('commit', '-qm', 'x');
  };

  it('are those of the repository around it, and of repositories in it at any depth', () => {
    commit(join(root, 'out/a/vendor'), 'w.txt', 'deep/x');
    commit(join(root, 'out/a/vendor/inner'), 'y');
    commit(root, 'out/tracked', 'other');
    writeFileSync(join(root, 'out/untracked'), '');
    expect([...trackedFiles(join(root, 'out'))].sort()).toEqual([
      'a/vendor/deep/x',
      'a/vendor/inner/y',
      'a/vendor/w.txt',
      'tracked',
    ]);
    expect(trackedFiles(join(root, 'absent')).size).toBe(0);
  });

  it('include the files of submodules, but not the directories as entries', () => {
    commit(join(root, 'libs/nets'), 'nets.py');
    commit(root, 'train.py');
    execFileSync('git', ['add', 'libs/nets'], { cwd: root, stdio: 'ignore' });
    const modes = execFileSync('git', ['ls-files', '-s'], { cwd: root, encoding: 'utf8' });
    expect(modes).toMatch(/^160000 .*\tlibs\/nets$/m);
    expect([...trackedFiles(root)].sort()).toEqual(['libs/nets/nets.py', 'train.py']);
  });

  it('are edited if they are not as they were committed or staged', () => {
    const names = ['same', 'edited', 'removed', 'staged', 'a "name" with *'];
    commit(root, 'edited', ...names.map((name) => `out/${name}`));
    for (const path of ['edited', 'out/edited', 'out/staged', 'out/a "name" with *', 'out/untracked'])
      writeFileSync(join(root, path), 'an edit');
    rmSync(join(root, 'out/removed'));
    utimesSync(join(root, 'out/same'), 1, 1);
    execFileSync('git', ['add', 'out/staged'], { cwd: root });
    expect([...editedTrackedFiles(join(root, 'out'))].sort()).toEqual(['a "name" with *', 'edited', 'removed']);
    rmSync(join(root, '.git'), { recursive: true });
    expect(editedTrackedFiles(join(root, 'out')).size).toBe(0);
  });
});
