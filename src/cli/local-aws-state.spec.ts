import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { startLocalAws } from '../local-aws/server';
import { ensureStateDirectory } from './local-aws-state';

describe('the state directory that nx-ec2 local-aws uses', () => {
  const before = { ...process.env };
  let parent: string;
  let workspace: string;
  let directory: string;
  let cache: string;
  beforeEach(() => {
    parent = realpathSync(mkdtempSync(join(tmpdir(), 'nx-ec2-state-')));
    workspace = join(parent, 'workspace');
    directory = join(workspace, '.nx-ec2/local-aws');
    cache = process.env.NX_EC2_CACHE_DIRECTORY = join(parent, 'cache');
    mkdirSync(workspace);
  });
  afterEach(() => {
    process.env = { ...before };
    rmSync(parent, { recursive: true, force: true });
  });

  const start = async () => {
    ensureStateDirectory(directory);
    await (await startLocalAws({ directory, buckets: ['bucket'] })).close();
  };
  const foreign = () => `${directory} holds state that local AWS did not create at this path for you`;
  const secret = () => join(directory, 'secret-access-key');
  /** Writes files as a repository or an archive brings them. */
  const bring = (files: Record<string, string>, mode = 0o600) => {
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), content);
      chmodSync(join(directory, name), mode);
    }
  };
  const git = (...args: string[]) => execFileSync('git', ['-C', workspace, ...args], { encoding: 'utf8' });
  const author = ['-c', 'user.name=a', '-c', 'user.email=a@localhost'];

  it('is created, and used again', async () => {
    await start();
    const key = readFileSync(secret(), 'utf8');
    await start();
    expect(readFileSync(secret(), 'utf8')).toBe(key);
    expect(statSync(join(cache, 'local-aws-key')).mode & 0o777).toBe(0o600);
    expect(statSync(join(directory, 'mark')).mode & 0o777).toBe(0o600);
  });

  it.each([0o600, 0o644])('is refused if an archive brought it, with mode %o', async (mode) => {
    bring({ 'secret-access-key': 'known'.repeat(8), 'instances/instances.json': '{}', mark: 'a'.repeat(64) }, mode);
    await expect(start()).rejects.toThrow(`${foreign()}, and it would run the commands in it as you.`);
    await expect(start()).rejects.toThrow(`Remove the state: rm -rf ${directory}, or choose another directory`);
    rmSync(directory, { recursive: true });
    await start();
  });

  it('is refused if it has links that an archive brought, which nothing follows', async () => {
    const notes = join(parent, 'notes');
    writeFileSync(notes, 'mine');
    mkdirSync(join(directory, 'instances'), { recursive: true });
    symlinkSync(notes, join(directory, 'instances/url'));
    await expect(start()).rejects.toThrow(foreign());
    rmSync(dirname(directory), { recursive: true });
    symlinkSync(parent, dirname(directory));
    await expect(start()).rejects.toThrow(`.nx-ec2 is a symbolic link. Remove it: rm ${dirname(directory)}`);
    expect(readdirSync(parent).sort()).toEqual(['cache', 'notes', 'workspace']);
    unlinkSync(dirname(directory));
    mkdirSync(dirname(directory));
    symlinkSync(parent, directory);
    await expect(start()).rejects.toThrow(`local-aws is a symbolic link. Remove it: rm ${directory}`);
    expect(readFileSync(notes, 'utf8')).toBe('mine');
  });

  it('is refused if it was copied or moved, and accepted where it was before', async () => {
    await start();
    cpSync(workspace, join(parent, 'copy'), { recursive: true });
    expect(() => ensureStateDirectory(join(parent, 'copy/.nx-ec2/local-aws'))).toThrow('it was moved or copied');
    renameSync(workspace, join(parent, 'moved'));
    expect(() => ensureStateDirectory(join(parent, 'moved/.nx-ec2/local-aws'))).toThrow('rm -rf');
    renameSync(join(parent, 'moved'), workspace);
    await start();
  });

  it('is refused after the key of this machine was removed', async () => {
    await start();
    const key = readFileSync(join(cache, 'local-aws-key'));
    rmSync(cache, { recursive: true });
    await expect(start()).rejects.toThrow(`${join(cache, 'local-aws-key')}, which proves its origin, was removed`);
    writeFileSync(join(cache, 'local-aws-key'), key);
    await start();
  });

  it('is accepted after a start that was killed before or after it wrote the mark', async () => {
    mkdirSync(directory, { recursive: true });
    ensureStateDirectory(directory);
    ensureStateDirectory(directory);
    writeFileSync(join(directory, 'mark'), '');
    writeFileSync(join(directory, 'mark.0123456789ab'), '');
    await start();
    await start();
  });

  it('needs a key of this machine that can be kept', () => {
    mkdirSync(cache);
    writeFileSync(join(cache, 'local-aws-key'), '');
    expect(() => ensureStateDirectory(directory)).toThrow(
      `Remove it for a new one: rm ${join(cache, 'local-aws-key')}`,
    );
    process.env.NX_EC2_CACHE_DIRECTORY = join(cache, 'local-aws-key');
    expect(() => ensureStateDirectory(directory)).toThrow('NX_EC2_CACHE_DIRECTORY names another directory');
    expect(existsSync(join(directory, 'mark'))).toBe(false);
  });

  it('cannot be a directory with other files, which no message tells to remove', () => {
    bring({ 'package.json': '{}', 's3/mine': '' });
    expect(() => ensureStateDirectory(directory)).toThrow('choose an empty or a new directory.');
    expect(() => ensureStateDirectory(directory)).not.toThrow('rm -rf');
  });

  it.each(['secret-access-key', 'instances/instances.json', '../LOCAL-AWS/instances/instances.json'])(
    'is refused while git tracks a file of it, also one that a pull brought into own state: %s',
    async (name) => {
      await start();
      git('init', '-q');
      bring({ [name]: '{}' });
      git('add', '-f', join(directory, name));
      await expect(start()).rejects.toThrow(/git tracks \.nx-ec2\/.*Remove it: git rm -rf \S+local-aws, or choose/);
      process.env.GIT_DIR = join(parent, 'other.git');
      execFileSync('git', ['init', '-q', '--bare', process.env.GIT_DIR]);
      await expect(start()).rejects.toThrow('git tracks');
      delete process.env.GIT_DIR;
      git('rm', '-q', '--cached', join(directory, name));
      rmSync(join(directory, name));
      await start();
    },
  );

  it('is refused if it, or the directory above it, looks like a bare repository', async () => {
    await start();
    git('init', '-q');
    const bare = { HEAD: 'ref: refs/heads/main\n', 'objects/x': '', 'refs/x': '', config: '[core]\nbare = true\n' };
    bring(bare);
    git('add', '-f', ...[...Object.keys(bare), 'secret-access-key'].map((name) => join(directory, name)));
    git(...author, 'commit', '-qm', 'state');
    await expect(start()).rejects.toThrow('git tracks .nx-ec2/local-aws/HEAD');
    const clone = join(parent, 'clone');
    execFileSync('git', ['clone', '-q', workspace, clone]);
    expect(() => ensureStateDirectory(join(clone, '.nx-ec2/local-aws'))).toThrow('did not create at this path for you');
    bring(Object.fromEntries(Object.entries(bare).map(([name, content]) => [`../${name}`, content])));
    await expect(start()).rejects.toThrow("git can't say which files");
  });

  it('is refused in a repository if git is not installed', async () => {
    git('init', '-q');
    process.env.PATH = parent;
    await expect(start()).rejects.toThrow('it is not installed');
  });
});
