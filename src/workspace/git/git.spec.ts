import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gitState } from './git';
import { workspaceIdentity } from '../identity';

let root: string;
const git = (...args: string[]) =>
  execFileSync('git', ['-C', root, '-c', 'user.name=a', '-c', 'user.email=a@b', ...args], { stdio: 'ignore' });

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nx-ec2-git-'));
  git('init');
  git('commit', '--allow-empty', '-m', 'first');
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe('the URL of the repository of a workspace', () => {
  it.each([
    ['https://bot:ghp@SECRETTAIL@git.example.com/x.git', 'https://git.example.com/x.git'],
    ['https://git.example.com/x.git?private_token=abc', 'https://git.example.com/x.git'],
    ['bot:p@w@git.example.com:team/x', 'git.example.com:team/x'],
    ['git@git.example.com:team/x', 'git@git.example.com:team/x'],
  ])('is recorded, and is its identity, without credentials: %s', async (remote, expected) => {
    git('remote', 'add', 'origin', remote);
    expect((await gitState(root))?.remote).toBe(expected);
    expect(workspaceIdentity(root)).toBe(expected);
  });
});
