import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { withoutCredentials } from '../../report/url-credentials';

export interface GitState {
  commit: string;
  branch: string | null;
  /** Tracked files differ from the commit. */
  dirty: boolean;
  /** Where `origin` is, without credentials; null where there is none. */
  remote: string | null;
}

const run = promisify(execFile);
/** A repository whose state takes longer is not waited for, ms. */
const GIT_TIMEOUT_MS = 5_000;

/** What git says of the workspace; null where it is no repository, has no commit, or git does not answer. */
export async function gitState(workspaceRoot: string): Promise<GitState | null> {
  const git = async (...args: string[]) =>
    (await run('git', ['-C', workspaceRoot, ...args], { timeout: GIT_TIMEOUT_MS, maxBuffer: 1 << 26 })).stdout;
  try {
    const [status, remote] = await Promise.all([
      git('--no-optional-locks', 'status', '--porcelain=v2', '--branch', '--untracked-files=no', '-z'),
      git('remote', 'get-url', 'origin').catch(() => ''),
    ]);
    const lines = status.split('\0').filter(Boolean);
    const header = (name: string) =>
      lines.find((line) => line.startsWith(`# branch.${name} `))?.slice(`# branch.${name} `.length);
    const commit = header('oid');
    if (!commit || !/^[0-9a-f]{40,64}$/.test(commit)) return null;
    const branch = header('head') ?? null;
    return {
      commit,
      branch: branch === '(detached)' ? null : branch,
      dirty: lines.some((line) => !line.startsWith('# ')),
      remote: withoutCredentials(remote.trim()) || null,
    };
  } catch {
    return null;
  }
}
