import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assertHidden, besideWorkspace } from './checkout-directory';

describe('the directory of a checkout', () => {
  let home: string;
  beforeEach(() => (home = realpathSync(mkdtempSync(join(tmpdir(), 'nx-ec2-checkout-')))));
  afterEach(() => rmSync(home, { recursive: true, force: true }));

  const write = (path: string, text = '') => {
    mkdirSync(join(home, path, '..'), { recursive: true });
    writeFileSync(join(home, path), text);
  };
  const git = (directory: string, ...args: string[]) => {
    mkdirSync(join(home, directory), { recursive: true });
    execFileSync('git', ['-C', join(home, directory), '-c', 'user.name=t', '-c', 'user.email=t@t.invalid', ...args]);
  };
  const chosen = (from: string) => besideWorkspace(join(home, from), 'run');
  const refused = (directory: string) => {
    try {
      assertHidden(join(home, directory), 'run');
      return null;
    } catch (error) {
      return error as { code: string; message: string };
    }
  };

  it('is beside the repository if the workspace is one of its subdirectories', () => {
    git('repo', 'init', '-q');
    write('repo/ws/nx.json', '{}');
    mkdirSync(join(home, 'repo/ws/libs/a'), { recursive: true });
    for (const from of ['repo', 'repo/ws', 'repo/ws/libs/a'])
      expect([from, chosen(from)]).toEqual([from, join(home, 'run')]);
    for (const directory of ['repo/run', 'repo/ws/run', 'repo/new/deep'])
      expect([directory, refused(directory)]).toEqual([
        directory,
        expect.objectContaining({
          code: 'CHECKOUT_IN_WORKSPACE',
          message: expect.stringContaining(`--output=${join(home, 'run')}`),
        }),
      ]);
    expect(refused('repo/run')!.message).toContain(`is inside the git repository ${home}/repo: git and other tools`);
    expect(refused('run')).toBeNull();
  });

  it('may be in a repository that ignores it', () => {
    git('repo', 'init', '-q');
    write('repo/.gitignore', '/runs/\n/run/\n');
    write('repo/ws/nx.json', '{}');
    expect(refused('repo/runs/then')).toBeNull();
    expect(chosen('repo/ws')).toBe(join(home, 'repo/run'));
    // Nx reads no list of git's own.
    write('repo/.git/info/exclude', 'hidden\n');
    expect(refused('repo/hidden')).toBeNull();
    expect(refused('repo/ws/hidden')).toMatchObject({ code: 'CHECKOUT_IN_WORKSPACE' });
  });

  it('is beside all repositories that contain the workspace, as that of a submodule', () => {
    git('outer', 'init', '-q');
    git('outer/inner', 'init', '-q');
    write('outer/inner/nx.json', '{}');
    expect(chosen('outer/inner')).toBe(join(home, 'run'));
  });

  it('is beside the working tree of a bare repository', () => {
    git('seed', 'init', '-q');
    git('seed', 'commit', '-q', '--allow-empty', '-m', 'x');
    git('.', 'clone', '-q', '--bare', 'seed', 'trees/.bare');
    write('trees/.git', 'gitdir: ./.bare\n');
    git('trees', 'worktree', 'add', '-q', 'main');
    write('trees/main/nx.json', '{}');
    expect(chosen('trees/main')).toBe(join(home, 'trees/run'));
    expect(refused('trees/run')).toBeNull();
    expect(refused('trees/main/run')).toMatchObject({ code: 'CHECKOUT_IN_WORKSPACE' });
  });

  it('is not chosen or accepted where git fails', () => {
    git('repo', 'init', '-q');
    write('repo/.git/config', '[core\n');
    expect(refused('repo/run')).toMatchObject({ code: 'GIT_FAILED' });
    expect(() => chosen('repo')).toThrow(expect.objectContaining({ code: 'GIT_FAILED' }));
  });

  it('is the one that the command runs in where there is neither repository nor workspace', () => {
    expect(chosen('.')).toBe(join(home, 'run'));
    write('ws/nx.json', '{}');
    expect(chosen('ws')).toBe(join(home, 'run'));
    expect(refused('ws/run')).toMatchObject({ code: 'CHECKOUT_IN_WORKSPACE' });
  });
});
