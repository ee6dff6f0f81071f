import { execFile, spawnSync } from 'node:child_process';
import { existsSync, lstatSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';

/**
 * No program that the repository's configuration names is run. Files of a repository can make one of its directories look
 * like a bare repository, with a configuration of its own: git does not answer for that one.
 */
const QUIET = [
  ...['--no-optional-locks', '-c', 'core.fsmonitor=false', '-c', 'core.hooksPath=/dev/null'],
  ...['-c', 'safe.bareRepository=explicit'],
];
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
  const trust = isDubious(first.failure) ? trustOwner(directory) : null;
  const result = trust ? attempt(directory, args, options, trust) : first;
  if (result.failure === undefined) return result.stdout;
  const isMissing = result.code === 'ENOENT';
  if (isMissing ? repositoryAbove(directory) === null : /not a git repository/.test(result.failure)) return null;
  throw new Problem(
    'GIT_FAILED',
    `git can't say which files of ${sanitizeForTerminal(directory)} it tracks: ${sanitizeForTerminal(isMissing ? 'it is not installed' : result.failure)}`,
    {
      next: isMissing
        ? 'Install git: files that it tracks must not be replaced.'
        : `Make "git status" work there, then run the same command again. If the repository belongs to another user whom you trust: git config --global --add safe.directory <its directory>`,
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
        maxBuffer: 1 << 28,
        timeout: TIMEOUT_MS,
        encoding: 'buffer' as const,
        env: { ...gitEnvironment(), ...more },
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
  const trust = isDubious(first.failure) ? trustOwner(directory) : null;
  const result = trust ? await list(trust) : first;
  if (result.failure === null) return result.stdout;
  if (result.isMissing || /not a git repository/.test(result.failure)) return null;
  throw new Error(result.failure);
}

/**
 * Variables that make git answer for another repository or another index than those of the directory. git sets some of
 * them for its hooks.
 */
const REDIRECTING = [
  ...['GIT_DIR', 'GIT_WORK_TREE', 'GIT_COMMON_DIR', 'GIT_INDEX_FILE', 'GIT_PREFIX', 'GIT_NAMESPACE', 'GIT_CONFIG'],
  ...['GIT_OBJECT_DIRECTORY', 'GIT_ALTERNATE_OBJECT_DIRECTORIES', 'GIT_SHALLOW_FILE', 'GIT_CEILING_DIRECTORIES'],
  ...['GIT_LITERAL_PATHSPECS', 'GIT_GLOB_PATHSPECS', 'GIT_NOGLOB_PATHSPECS', 'GIT_ICASE_PATHSPECS'],
];

function gitEnvironment(): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = { ...process.env, LC_ALL: 'C', LANGUAGE: 'C' };
  for (const name of REDIRECTING) delete environment[name];
  return environment;
}

function isDubious(failure: string | null | undefined): boolean {
  return Boolean(failure && /dubious ownership/.test(failure));
}

/**
 * Makes git read a repository of another user, as a checkout is that is mounted into a container. Only one of the user
 * who owns the directory that this command runs in, whose code runs here anyway: the configuration of a repository can
 * name programs. The protocols with which git would fetch missing objects are off, since they start such programs.
 * @returns null for a repository of anybody else.
 */
function trustOwner(directory: string): NodeJS.ProcessEnv | null {
  const top = repositoryAbove(directory);
  if (top === null || !ownersOf(top).every((owner) => owner === statSync(process.cwd()).uid)) return null;
  const count = Number(process.env.GIT_CONFIG_COUNT) || 0;
  return {
    GIT_CONFIG_COUNT: String(count + 1),
    [`GIT_CONFIG_KEY_${count}`]: 'safe.directory',
    // By its own path: git must not use another repository further up.
    [`GIT_CONFIG_VALUE_${count}`]: top,
    GIT_ALLOW_PROTOCOL: 'none',
    GIT_NO_LAZY_FETCH: '1',
  };
}

/** The users who own the working tree, its `.git`, and the directory that a `.git` file names. */
function ownersOf(top: string): number[] {
  const git = join(top, '.git');
  const paths = [top, git];
  if (lstatSync(git).isFile()) {
    const named = /^gitdir: ([^\n]*)/.exec(readFileSync(git, 'utf8'))?.[1];
    if (named) paths.push(resolve(top, named));
  }
  return paths.map((path) => statSync(path).uid);
}

function repositoryAbove(directory: string): string | null {
  for (let at = realpathSync(directory); ; at = dirname(at)) {
    if (existsSync(join(at, '.git'))) return at;
    if (at === dirname(at)) return null;
  }
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
    env: { ...gitEnvironment(), ...more },
  });
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  // A git that ends before it has read its input says why on its own.
  if (error && !(code === 'EPIPE' && status !== null)) return { stdout: '', failure: error.message, code };
  if (status !== null && codes.includes(status)) return { stdout };
  return { stdout: '', failure: stderr.trim() || `git ended with ${status ?? signal}` };
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
