import { execFile, spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';

/** No program that the repository's configuration names is run. */
const QUIET = ['--no-optional-locks', '-c', 'core.fsmonitor=false', '-c', 'core.hooksPath=/dev/null'];
const TIMEOUT_MS = 60_000;

export interface GitOptions {
  input?: string;
  /** Exit codes that are answers as well. Default: 0 alone. */
  codes?: number[];
}

/**
 * What git prints, run in a directory that exists; null where the directory is in no repository. That git fails does
 * not mean that there is none.
 * @throws Problem `GIT_FAILED`
 */
export function runGit(directory: string, args: string[], options: GitOptions = {}): string | null {
  const first = attempt(directory, args, options, {});
  const result =
    first.failure && /dubious ownership/.test(first.failure) ? attempt(directory, args, options, trustOwner()) : first;
  if (result.failure === undefined) return result.stdout;
  const isMissing = result.code === 'ENOENT';
  if (isMissing ? !isBelowRepository(directory) : /not a git repository/.test(result.failure)) return null;
  throw new Problem(
    'GIT_FAILED',
    `git can't say which files of ${printable(directory)} it tracks: ${printable(isMissing ? 'it is not installed' : result.failure)}`,
    {
      next: isMissing
        ? 'Install git: files that it tracks must not be replaced.'
        : `Make "git status" work there, then run the same command again. If the repository belongs to another user: git config --global --add safe.directory '*'`,
    },
  );
}

/**
 * What git lists, as bytes, without blocking; null where the directory is in no repository or git is not installed.
 * @throws Error where git fails.
 */
export async function listFromGit(directory: string, args: string[]): Promise<Buffer | null> {
  const list = (more: NodeJS.ProcessEnv) =>
    new Promise<{ failure: string | null; stdout: Buffer; isMissing: boolean }>((resolve) => {
      const options = {
        ...{ maxBuffer: 1 << 28, timeout: TIMEOUT_MS, encoding: 'buffer' as const },
        env: { ...process.env, LC_ALL: 'C', LANGUAGE: 'C', GIT_LITERAL_PATHSPECS: undefined, ...more },
      };
      execFile('git', ['-C', directory, ...QUIET, ...args], options, (error, stdout, stderr) =>
        resolve({
          failure: error && (stderr.toString().trim() || error.message),
          stdout,
          isMissing: error?.code === 'ENOENT',
        }),
      );
    });
  const first = await list({});
  const result = first.failure && /dubious ownership/.test(first.failure) ? await list(trustOwner()) : first;
  if (result.failure === null) return result.stdout;
  if (result.isMissing || /not a git repository/.test(result.failure)) return null;
  throw new Error(result.failure);
}

/** A repository that belongs to another user, as a checkout does that is mounted into a container, is read all the same. */
function trustOwner(): NodeJS.ProcessEnv {
  const count = Number(process.env.GIT_CONFIG_COUNT) || 0;
  return {
    GIT_CONFIG_COUNT: String(count + 1),
    [`GIT_CONFIG_KEY_${count}`]: 'safe.directory',
    [`GIT_CONFIG_VALUE_${count}`]: '*',
  };
}

interface Attempt {
  stdout: string;
  failure?: string;
  code?: string;
}

function attempt(
  directory: string,
  args: string[],
  { input, codes = [0] }: GitOptions,
  more: NodeJS.ProcessEnv,
): Attempt {
  const { error, status, signal, stdout, stderr } = spawnSync('git', ['-C', directory, ...QUIET, ...args], {
    input,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    timeout: TIMEOUT_MS,
    env: { ...process.env, LC_ALL: 'C', LANGUAGE: 'C', GIT_LITERAL_PATHSPECS: undefined, ...more },
  });
  if (error) return { stdout: '', failure: error.message, code: (error as NodeJS.ErrnoException).code };
  if (status !== null && codes.includes(status)) return { stdout };
  return { stdout: '', failure: stderr.trim() || `git ended with ${status ?? signal}` };
}

function isBelowRepository(directory: string): boolean {
  for (let at = directory; ; at = dirname(at)) {
    if (existsSync(join(at, '.git'))) return true;
    if (at === dirname(at)) return false;
  }
}

/** The nearest directory that exists, of a path and those above it. */
export function nearestDirectory(path: string): string {
  let at = path;
  while (!isDirectory(at)) at = dirname(at);
  return at;
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}
