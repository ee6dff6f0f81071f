import { lstatSync, readlinkSync, realpathSync, type Stats } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { Problem } from '../report/problem';
import { printablePath } from '../report/terminal-text';
import { steadyNow } from '../system/moment';
import { nextTurn } from '../system/sleep';
import { WHOLE_BYTES } from './chunk';
import { targetFault, type Entry } from './entry';
import { fileStat, HashCache, type FileStat } from './hash-cache';
import { readContent, readContents, type Content } from './read-content';
import { Recipes } from './recipes';
import type { ScannedContents } from './scanned-contents';
import { Snapshot } from './snapshot';

/** What `lstat` said of files before the scan. */
export interface LookedAt {
  /** By workspace-relative path; null for a link. No directory on the way to any of them is a link. */
  stats: ReadonlyMap<string, FileStat | null>;
  /** When the first was looked at, ms since the epoch. */
  since: number;
}

export interface ScanInput {
  /** Absolute. */
  workspaceRoot: string;
  /** Workspace-relative paths of files and symbolic links, sorted as JavaScript compares texts. */
  paths: readonly string[];
  /** Workspace-relative paths of directories that are wanted even while they are empty. */
  emptyDirectories?: readonly string[];
  /** Where what was read is remembered from scan to scan, absolute, without an ending. */
  cache?: string;
  /** Gets the small contents that are read. */
  contents?: ScannedContents;
  /** Files that are not looked at again if that was a moment ago. */
  looked?: LookedAt;
}

export interface ScanResult {
  snapshot: Snapshot;
  /** Paths that were listed and are gone. */
  disappeared: string[];
  /** Of the large files. */
  recipes: Recipes;
}

/** A file that changes while it is read is read again, so often in all. */
const MAX_READS = 3;
/** So long, ms, files are looked at before anything else that is to be done has its turn. */
const SLICE_MS = 5;
/** What was looked at longer ago, ms, is looked at again: git may have been waited for. */
const MAX_LOOKED_MS = 10_000;

/**
 * What the paths hold: lstat, and SHA-256 of what is not known from the last scan. Files are read in blocks, so memory
 * is bounded whatever the sizes; large ones on all cores.
 * @throws Problem for what can't be sent: special files, links that leave the workspace, names that are not Unicode, a
 * file that keeps changing.
 */
export async function scan(input: ScanInput): Promise<ScanResult> {
  const { workspaceRoot, paths, emptyDirectories = [], cache, contents } = input;
  const looked = input.looked && isRecent(input.looked.since) ? input.looked : undefined;
  const now = looked?.since ?? Date.now();
  const root = realpathSync(workspaceRoot);
  const known = HashCache.load(cache && `${cache}.hashes`);
  const recipes = new Recipes(cache && `${cache}.recipes`);
  const found = await list(root, paths, { known, contents, looked: looked?.stats });
  await readLarge(root, found, recipes);
  if (emptyDirectories.length) addEmpty(found, emptyDirectories);
  const disappeared: string[] = [];
  const there: Found[] = [];
  for (const each of found) {
    if (each.entry) there.push(each);
    else assertNameable(each.path, disappeared);
  }
  const entries = there.map(({ entry }) => entry!);
  const cursor = known.cursor();
  const rows = there.map(({ row, path }) => row ?? cursor(path));
  if (known.snapshot && known.isAll(entries, rows)) {
    const again = there.some(({ row }) => row === null);
    if (again && cache)
      HashCache.save(
        `${cache}.hashes`,
        entries,
        there.map(({ stat }) => stat),
        known.snapshot,
        now,
      );
    return { snapshot: Snapshot.known(entries, known.snapshot), disappeared, recipes };
  }
  const snapshot = Snapshot.of(entries);
  if (cache) {
    HashCache.save(
      `${cache}.hashes`,
      entries,
      there.map(({ stat }) => stat),
      snapshot.id,
      now,
    );
    recipes.save(new Set(paths));
  }
  return { snapshot, disappeared, recipes };
}

interface Found {
  path: string;
  /** Null for what has no content of its own. */
  stat: FileStat | null;
  /** Its row of the last scan, where `lstat` says that nothing changed. */
  row: number | null;
  /** Absent while a large file is to be read; null where it is gone. */
  entry?: Entry | null;
}

async function list(
  root: string,
  paths: readonly string[],
  { known, contents, looked }: { known: HashCache; contents?: ScannedContents; looked?: LookedAt['stats'] },
): Promise<Found[]> {
  const checkedParents = new Set<string>();
  const cursor = known.cursor();
  const found: Found[] = [];
  let since = steadyNow();
  for (const path of paths) {
    found.push(look(path));
    if (steadyNow() - since < SLICE_MS) continue;
    // Requests to AWS are sent and answered meanwhile.
    await nextTurn();
    since = steadyNow();
  }
  return found;

  function look(path: string): Found {
    const absolute = `${root}/${path}`;
    const before = looked?.get(path);
    if (before) return ofFile(path, before);
    const stat = lookAgain(path, absolute);
    if (!stat) return { path, stat: null, row: null, entry: null };
    if (stat.isSymbolicLink()) return { path, stat: null, row: null, entry: link(path, readlinkSync(absolute)) };
    if (!stat.isFile()) {
      throw new Problem('FILE_SPECIAL', `${printablePath(path)} is neither a file nor a symbolic link.`, {
        next: 'Leave it out with "sync.exclude".',
      });
    }
    return ofFile(path, fileStat(stat));
  }

  function ofFile(path: string, stat: FileStat): Found {
    const row = cursor(path);
    if (row !== null && known.holds(row, stat)) return { path, stat, row, entry: file(path, stat, known.sha256(row)) };
    // It may have been looked at a while ago.
    assertInside(root, path, checkedParents);
    if (stat.size > WHOLE_BYTES) return { path, stat, row: null };
    const absolute = `${root}/${path}`;
    const content = readStable(path, () => readContent(absolute, undefined, contents));
    return {
      path,
      stat: content && fileStat(content.stat),
      row: null,
      entry: content && file(path, content.stat, content.sha256),
    };
  }

  function lookAgain(path: string, absolute: string): Stats | undefined {
    assertInside(root, path, checkedParents);
    try {
      return lstatSync(absolute, { throwIfNoEntry: false });
    } catch (error) {
      if (!gone(error)) assertReadable(path, error as Error);
      return undefined;
    }
  }
}

/** False if the clock was set back since. */
function isRecent(since: number): boolean {
  const age = Date.now() - since;
  return age >= 0 && age < MAX_LOOKED_MS;
}

/** Adds the directories that are still empty. */
function addEmpty(found: Found[], directories: readonly string[]): void {
  const seen = new Set<string>();
  for (const { path } of found)
    for (let at = dirname(path); at !== '.' && !seen.has(at); at = dirname(at)) seen.add(at);
  for (const path of directories) {
    if (!seen.has(path)) found.push({ path, stat: null, row: null, entry: { kind: 'directory', path } });
  }
  found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function readLarge(root: string, found: Found[], recipes: Recipes): Promise<void> {
  const large = found.filter(({ entry }) => entry === undefined);
  const contents = await readContents(
    large.map(({ path, stat }) => ({ path: join(root, path), size: stat!.size, old: recipes.last(path) })),
  );
  large.forEach((each, index) => {
    let first: Content | null | Error | undefined = contents[index];
    const content = readStable(each.path, () => {
      const now = first === undefined ? readContent(join(root, each.path), recipes.last(each.path)) : first;
      first = undefined;
      if (now instanceof Error) throw now;
      return now;
    });
    each.stat = content && fileStat(content.stat);
    each.entry = content && file(each.path, content.stat, content.sha256);
    if (content?.chunks) recipes.set(each.path, content.sha256, content.chunks);
  });
}

/** Reads again until the file does not change in between. @returns null if it was deleted. */
function readStable(path: string, read: () => Content | null): Content | null {
  for (let tries = 1; ; tries++) {
    try {
      const content = read();
      if (content) return content;
    } catch (error) {
      if (gone(error)) return null;
      return assertReadable(path, error as Error);
    }
    if (tries === MAX_READS) {
      throw new Problem('FILE_CHANGING', `${printablePath(path)} keeps changing while it is read.`, {
        next: 'Run the command again when no program writes to it, or leave it out with "sync.exclude".',
      });
    }
  }
}

function file(path: string, stat: FileStat, sha256: string): Entry {
  return { kind: 'file', path, executable: (stat.mode & 0o100) !== 0, size: stat.size, sha256 };
}

function link(path: string, target: string): Entry {
  const fault = targetFault(path, target);
  if (fault) {
    throw new Problem(
      'LINK_OUTSIDE',
      `The symbolic link ${printablePath(path)} -> ${printablePath(target)} ${fault}.`,
      {
        next: 'Links may point inside the workspace only, by a relative path with ".." at its start alone: replace it, or leave it out with "sync.exclude".',
      },
    );
  }
  return { kind: 'link', path, target };
}

function assertNameable(path: string, disappeared: string[]): void {
  if (path.includes('\ufffd'))
    throw new Problem('PATH_INVALID', `The name ${printablePath(path)} is not valid UTF-8.`, {
      next: 'Rename the file, or leave it out with "sync.exclude".',
    });
  disappeared.push(path);
}

/** No listed path may be reached through a symbolic link that leads out of the workspace. */
function assertInside(root: string, path: string, checked: Set<string>): void {
  const parent = dirname(path);
  if (parent === '.' || checked.has(parent)) return;
  checked.add(parent);
  let real: string;
  try {
    real = realpathSync(join(root, parent));
  } catch {
    return;
  }
  const from = relative(root, real);
  if (from === '..' || from.startsWith('../')) {
    throw new Problem(
      'PATH_OUTSIDE',
      `${printablePath(path)} is outside the workspace: ${printablePath(parent)} leads to ${printablePath(real)}.`,
      {
        next: 'Leave it out with "sync.exclude", or copy it into the workspace.',
      },
    );
  }
}

function gone(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP';
}

function assertReadable(path: string, error: Error): never {
  throw new Problem('FILE_UNREADABLE', `${printablePath(path)} can't be read: ${error.message}`, {
    next: 'Correct its permissions, or leave it out with "sync.exclude".',
    cause: error,
  });
}
