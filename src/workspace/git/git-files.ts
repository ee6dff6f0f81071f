import { lstatSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';
import { targetFault } from '../../snapshot/entry';
import { listFromGit } from './run-git';

/** A command line of git's holds at most this many paths: a system limits its length. */
const MAX_PATHSPECS = 400;

/** Mode, hash and stage of a path that git tracks, and a tab. */
const STAGED = /^\d{6} [0-9a-f]{40,64} [0-3]\t/;
/** The tag of a path that git does not keep in the working tree, and of one that it does not track. */
const [SKIPPED, OTHER] = ['S', '?'];
/** The length of a tag and a space. */
const TAG = 2;
/** The mode of a submodule. */
const SUBMODULE = '160000 ';

/** What git has below the directories that are sent. */
export interface GitFiles {
  /** Workspace-relative paths of tracked files and links. */
  tracked: Set<string>;
  /** Paths that git does not ignore, tracked or not. */
  others: string[];
  /** Of `tracked`, those that a sparse checkout leaves out of the working tree. */
  skipped: Set<string>;
  submodules: string[];
  /** Names that are not UTF-8, as they can be shown. */
  unnameable: string[];
}

/** @returns null where the workspace is in no repository. */
export async function gitFiles(workspaceRoot: string, roots: readonly string[]): Promise<GitFiles | null> {
  const there = roots.filter((root) => statSync(join(workspaceRoot, root), { throwIfNoEntry: false })?.isDirectory());
  if (there.length === 0) return null;
  const listed = await listFromGit(workspaceRoot, [
    ...['--literal-pathspecs', 'ls-files', '-z', '-t', '--stage', '--cached', '--others', '--exclude-standard', '--'],
    ...there.map((root) => `./${root}`),
  ]);
  if (listed === null) return null;
  const found: GitFiles = { tracked: new Set(), others: [], skipped: new Set(), submodules: [], unnameable: [] };
  const take = (tagged: string, isNameable = true) => {
    const [tag, text] = [tagged[0], tagged.slice(TAG)];
    const staged = tag !== OTHER && STAGED.test(text);
    const path = staged ? text.slice(text.indexOf('\t') + 1) : text;
    if (!isNameable) found.unnameable.push(path);
    else if (staged && text.startsWith(SUBMODULE)) found.submodules.push(path);
    else if (staged) {
      found.tracked.add(path);
      if (tag === SKIPPED) found.skipped.add(path);
    }
    // A repository in a directory is listed with a slash at its end.
    else if (!path.endsWith('/')) found.others.push(path);
  };
  const whole = listed.toString();
  if (whole.includes('\ufffd')) {
    for (let from = 0; from < listed.length;) {
      const end = listed.indexOf(0, from);
      const bytes = listed.subarray(from, end);
      from = end + 1;
      const text = bytes.toString();
      take(text, Buffer.from(text).equals(bytes));
    }
  } else {
    const texts = whole.split('\0');
    texts.pop();
    for (const text of texts) take(text);
  }
  return found;
}

/** The files that git tracks in a directory of the workspace; none where git fails, which findFiles reports. */
export async function trackedBelow(workspaceRoot: string, directory: string): Promise<string[]> {
  const files = await gitFiles(workspaceRoot, [directory]).catch(() => null);
  return [...(files?.tracked ?? [])];
}

/** Of these paths, those that a .nxignore leaves out, as git reads its patterns. */
export async function nxIgnored(workspaceRoot: string, paths: readonly string[]): Promise<Set<string>> {
  const found = new Set<string>();
  for (let from = 0; from < paths.length; from += MAX_PATHSPECS) {
    const listed = await listFromGit(workspaceRoot, [
      ...['--literal-pathspecs', 'ls-files', '-z', '--cached', '--others', '--ignored'],
      ...[
        '--exclude-per-directory=.nxignore',
        '--',
        ...paths.slice(from, from + MAX_PATHSPECS).map((path) => `./${path}`),
      ],
    ]);
    for (const path of listed?.toString().split('\0') ?? []) found.add(path);
  }
  return found;
}

/** Why a link can't be sent, though git has it; null where it can. */
export function linkFault(workspaceRoot: string, path: string): string | null {
  const target = readlinkSync(join(workspaceRoot, path));
  const fault = targetFault(path, target);
  if (fault) return `a symbolic link whose target ${fault}`;
  const resolved = linkTarget(workspaceRoot, path);
  for (let at = posix.dirname(resolved); at !== '.'; at = posix.dirname(at)) {
    if (lstatSync(join(workspaceRoot, at), { throwIfNoEntry: false })?.isSymbolicLink())
      return `a symbolic link that leads through another, ${at}`;
  }
  return null;
}

/** Where a link leads, workspace-relative, by text alone. */
export function linkTarget(workspaceRoot: string, path: string): string {
  const target = readlinkSync(join(workspaceRoot, path));
  return posix.join(posix.dirname(path), target).replace(/\/$/, '');
}

/** Pipes, sockets and devices beside files that are sent. Nothing is opened. @param known directories to pass over. */
export function specialFiles(
  workspaceRoot: string,
  paths: Iterable<string>,
  known: ReadonlySet<string> = new Set(),
): string[] {
  const directories = new Set<string>();
  for (const path of paths) {
    const slash = path.lastIndexOf('/');
    const directory = slash < 0 ? '.' : path.slice(0, slash);
    if (!known.has(directory)) directories.add(directory);
  }
  return [...directories].flatMap((directory) => {
    try {
      return readdirSync(join(workspaceRoot, directory), { withFileTypes: true })
        .filter((each) => !each.isFile() && !each.isDirectory() && !each.isSymbolicLink())
        .map(({ name }) => posix.join(directory, name));
    } catch {
      // Gone, or not a directory any more: the scan says so.
      return [];
    }
  });
}
