import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  realpathSync,
  type Stats,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { targetFault, type Entry } from './entry';
import { Snapshot } from './snapshot';

export interface ScanInput {
  /** Absolute. */
  workspaceRoot: string;
  /** Workspace-relative paths of files and symbolic links. */
  paths: readonly string[];
  /** Workspace-relative paths of directories that are wanted even while they are empty. */
  emptyDirectories?: readonly string[];
}

export interface ScanResult {
  snapshot: Snapshot;
  /** Paths that were listed and are gone. */
  vanished: string[];
}

const BLOCK = 1024 * 1024;
/** A file that changes while it is read is read again, so often in all. */
const READS = 3;

/**
 * What the paths hold: lstat and SHA-256, read in blocks, so memory is bounded whatever the sizes.
 * @throws Problem for what can't be sent: special files, links that leave the workspace, names that are not Unicode, a
 * file that keeps changing.
 */
export function scan({ workspaceRoot, paths, emptyDirectories = [] }: ScanInput): ScanResult {
  const entries: Entry[] = [];
  const vanished: string[] = [];
  const block = Buffer.allocUnsafe(BLOCK);
  const root = realpathSync(workspaceRoot);
  const checkedParents = new Set<string>();
  for (const path of paths) {
    refuseOutside(root, path, checkedParents);
    const entry = scanEntry(root, path, block);
    if (entry) entries.push(entry);
    else if (path.includes('\ufffd'))
      throw new Problem('PATH_INVALID', `The name ${printable(path)} is not valid UTF-8.`, {
        next: 'Rename the file, or leave it out with "sync.exclude".',
      });
    else vanished.push(path);
  }
  const parents = new Set<string>();
  for (const { path } of entries) for (let at = dirname(path); at !== '.'; at = dirname(at)) parents.add(at);
  for (const path of emptyDirectories) {
    if (!parents.has(path)) entries.push({ kind: 'directory', path });
  }
  return { snapshot: Snapshot.of(entries), vanished };
}

/** No listed path may be reached through a symbolic link that leads out of the workspace. */
function refuseOutside(root: string, path: string, checked: Set<string>): void {
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
      `${printable(path)} is outside the workspace: ${printable(parent)} leads to ${printable(real)}.`,
      {
        next: 'Leave it out with "sync.exclude", or copy it into the workspace.',
      },
    );
  }
}

function scanEntry(root: string, path: string, block: Buffer): Entry | null {
  const absolute = join(root, path);
  let stat: Stats;
  try {
    stat = lstatSync(absolute);
  } catch (error) {
    return gone(error) ? null : refuseUnreadable(path, error as Error);
  }
  if (stat.isSymbolicLink()) {
    const target = readlinkSync(absolute);
    const fault = targetFault(path, target);
    if (fault) {
      throw new Problem('LINK_OUTSIDE', `The symbolic link ${printable(path)} -> ${printable(target)} ${fault}.`, {
        next: 'Links may point inside the workspace only, by a relative path: replace it, or leave it out with "sync.exclude".',
      });
    }
    return { kind: 'link', path, target };
  }
  if (!stat.isFile()) {
    throw new Problem('FILE_SPECIAL', `${printable(path)} is neither a file nor a symbolic link.`, {
      next: 'Leave it out with "sync.exclude".',
    });
  }
  for (let read = 1; ; read++) {
    try {
      const entry = hashFile(absolute, path, block);
      if (entry) return entry;
    } catch (error) {
      if (gone(error)) return null;
      return refuseUnreadable(path, error as Error);
    }
    if (read === READS) {
      throw new Problem('FILE_CHANGING', `${printable(path)} keeps changing while it is read.`, {
        next: 'Run the command again when nothing writes there, or leave it out with "sync.exclude".',
      });
    }
  }
}

/** @returns null where the file changed while it was read. */
function hashFile(absolute: string, path: string, block: Buffer): Entry | null {
  // Between lstat and here a link may have taken the file's place.
  const file = openSync(absolute, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0));
  try {
    const before = fstatSync(file);
    const hash = createHash('sha256');
    let size = 0;
    for (;;) {
      const count = readSync(file, block, 0, block.length, null);
      if (count === 0) break;
      hash.update(block.subarray(0, count));
      size += count;
    }
    const after = fstatSync(file);
    if (size !== after.size || before.size !== after.size || before.mtimeMs !== after.mtimeMs) return null;
    return { kind: 'file', path, executable: (after.mode & 0o100) !== 0, size, sha256: hash.digest('hex') };
  } finally {
    closeSync(file);
  }
}

function gone(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP';
}

function refuseUnreadable(path: string, error: Error): never {
  throw new Problem('FILE_UNREADABLE', `${printable(path)} can't be read: ${error.message}`, {
    next: 'Mend its permissions, or leave it out with "sync.exclude".',
    cause: error,
  });
}
