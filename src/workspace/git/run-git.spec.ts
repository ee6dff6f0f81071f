import { execFileSync } from 'node:child_process';
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Problem } from '../../report/problem';
import { visibleToTools } from './ignored';
import { trackedFiles } from './tracked';

describe("git's answer about a directory", () => {
  let root: string;
  const environment = { ...process.env };
  beforeEach(() => {
    root = realpathSync(mkdtempSync(join(tmpdir(), 'nx-ec2-git-')));
    for (const path of ['out/kept', 'other/x']) {
      mkdirSync(join(root, path, '..'), { recursive: true });
      writeFileSync(join(root, path), path);
    }
    git('init', '-q');
    git('add', '.');
    git('-c', 'user.name=t', '-c', 'user.email=t@example.invalid', 'commit', '-qm', 'x');
  });
  afterEach(() => {
    process.env = { ...environment };
    jest.restoreAllMocks();
    rmSync(root, { recursive: true, force: true });
  });
  const git = (...args: string[]) => execFileSync('git', args, { cwd: root, encoding: 'utf8' });

  it.each([
    ['GIT_DIR', '.git'],
    ['GIT_DIR', 'absent'],
    ['GIT_WORK_TREE', 'other'],
    ['GIT_INDEX_FILE', 'absent'],
    ['GIT_CEILING_DIRECTORIES', '.'],
    ['GIT_OBJECT_DIRECTORY', 'absent'],
  ])('is about its own repository, whatever %s names', (name, path) => {
    process.env[name] = join(root, path);
    expect([...trackedFiles(join(root, 'out'))]).toEqual(['kept']);
    writeFileSync(join(root, '.gitignore'), '/out/a*\n');
    expect([...visibleToTools(join(root, 'out'), ['a', 'b'])]).toEqual(['b']);
  });

  it('distinguishes upper and lower case in ignore rules, as Nx does', () => {
    git('config', 'core.ignoreCase', 'true');
    writeFileSync(join(root, '.gitignore'), '/OUT/\n');
    expect([...visibleToTools(join(root, 'out'), ['package.json'])]).toEqual(['package.json']);
  });

  /** Whoever reads the repository fetches a directory that it lacks, by a program that its configuration names. */
  function makeTrap(): string {
    const mark = join(root, 'ran');
    git('sparse-checkout', 'set', '--cone', '--sparse-index', 'out');
    const tree = git('rev-parse', 'HEAD:other').trim();
    rmSync(join(root, '.git/objects', tree.slice(0, 2), tree.slice(2)));
    git('config', 'core.repositoryFormatVersion', '1');
    git('config', 'extensions.partialClone', 'origin');
    git('config', 'remote.origin.promisor', 'true');
    git('config', 'remote.origin.url', `ext::touch ${mark}`);
    git('config', 'protocol.ext.allow', 'always');
    return mark;
  }

  /** Gives the repository to another user; who may not do that has git take it for one's. */
  function makeForeign(): void {
    if (process.getuid?.() !== 0) {
      process.env.GIT_TEST_ASSUME_DIFFERENT_OWNER = '1';
      return;
    }
    for (const path of ['', '.git', ...readdirSync(join(root, '.git')).map((name) => `.git/${name}`)])
      chownSync(join(root, path), 65534, 65534);
  }

  it('is not requested for a repository of another user, whose programs never run', () => {
    const mark = makeTrap();
    makeForeign();
    if (process.getuid?.() !== 0) jest.spyOn(process, 'cwd').mockReturnValue('/');
    expect(() => trackedFiles(root)).toThrow(
      expect.objectContaining<Partial<Problem>>({
        code: 'GIT_FAILED',
        message: expect.stringContaining('dubious ownership') as string,
      }),
    );
    expect(existsSync(mark)).toBe(false);
  });

  it('is not taken from files that look like a bare repository, whose programs never run', () => {
    const mark = makeTrap();
    cpSync(join(root, '.git'), join(root, 'out'), { recursive: true });
    execFileSync('git', ['config', '--file', join(root, 'out/config'), 'core.worktree', '..']);
    for (const ask of [() => trackedFiles(join(root, 'out')), () => visibleToTools(join(root, 'out'), ['a'])])
      expect(ask).toThrow(expect.objectContaining<Partial<Problem>>({ code: 'GIT_FAILED' }));
    expect(existsSync(mark)).toBe(false);
  });

  it("is requested for a repository of the workspace's user, without fetching", () => {
    const mark = makeTrap();
    makeForeign();
    jest.spyOn(process, 'cwd').mockReturnValue(root);
    expect([...trackedFiles(root)]).toEqual(['out/kept']);
    expect(existsSync(mark)).toBe(false);
  });
});
