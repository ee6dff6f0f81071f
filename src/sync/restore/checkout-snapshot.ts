import { constants } from 'node:fs';
import {
  chmod,
  copyFile,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  rmdir,
  statfs,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { difference } from '../../snapshot/diff';
import type { Entry, FileEntry } from '../../snapshot/entry';
import { readContent } from '../../snapshot/read-content';
import { scan } from '../../snapshot/scan';
import type { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';
import { fetchContents, type FetchOptions } from './fetch-contents';
import type { StoredSnapshot } from '../manifest/read-snapshot';
import { onFile } from '../../report/file-problem';
import { formatSize } from '../../report/units';

export interface CheckoutOptions extends Pick<FetchOptions, 'warn'> {
  signal?: AbortSignal;
  /** Told how many bytes of contents are there. */
  onProgress?: (bytes: number) => void;
}

/**
 * Makes a directory that holds a snapshot and nothing else: files with their executable bits, links, empty directories.
 * It is made beside its place and moved there when all of it is verified; what an attempt that was ended has left there
 * is made use of.
 * @param target absolute; it is not there, or an empty directory.
 * @throws Problem `TARGET_TAKEN`, `DISK_FULL`, `RESTORE_MISMATCH`, those of `fetchContents`.
 */
export async function restoreSnapshot(
  store: Store,
  keys: StoreKeys,
  stored: StoredSnapshot,
  target: string,
  { warn, signal, onProgress }: CheckoutOptions,
): Promise<void> {
  const { snapshot } = stored;
  // One snapshot has one place: no link that another left can be on the way of a file.
  const stage = `${target}.${snapshot.id.slice(0, 16)}.nx-ec2-part`;
  if (await isTaken(target)) {
    // That of an attempt that was killed: nothing makes use of it any more.
    if (await isOwnDirectory(stage)) await rm(stage, { recursive: true, force: true });
    throw conflicting(target);
  }
  await ensureStage(stage);
  const beside = join(stage, 'files');
  const directories = new Set(
    snapshot.entries.map((entry) => (entry.kind === 'directory' ? entry.path : dirname(entry.path))),
  );
  for (const directory of ['.', ...directories]) await mkdir(join(beside, directory), { recursive: true });
  // Neither git nor Nx looks into it while it is there.
  for (const name of ['.gitignore', '.nxignore']) await writeFile(join(stage, name), '*\n');
  const files = snapshot.entries.filter((entry) => entry.kind === 'file');
  const first = new Map<string, FileEntry>();
  for (const file of files) if (!first.has(file.sha256)) first.set(file.sha256, file);
  let done = 0;
  const wanted: FileEntry[] = [];
  for (const file of first.values()) {
    if (await begin(join(beside, file.path), file)) wanted.push(file);
    else onProgress?.((done += file.size));
  }
  const copies = files.filter((file) => first.get(file.sha256) !== file);
  await assertFits(beside, [...wanted, ...copies]);
  await fetchContents(store, keys, stored, wanted, {
    warn,
    signal,
    onPiece: async (content, offset, data) => {
      const path = join(beside, first.get(content)!.path);
      await onFile(path, () => write(path, offset, data));
      onProgress?.((done += data.length));
    },
  });
  for (const file of copies) {
    const from = join(beside, first.get(file.sha256)!.path);
    await copyFile(from, join(beside, file.path), constants.COPYFILE_FICLONE);
  }
  for (const file of files) await chmod(join(beside, file.path), file.executable ? 0o755 : 0o644);
  for (const entry of snapshot.entries) if (entry.kind === 'link') await link(join(beside, entry.path), entry.target);
  await verify(beside, stored);
  signal?.throwIfAborted();
  await rmdir(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw conflicting(target);
  });
  await rename(beside, target);
  await rm(stage, { recursive: true, force: true });
}

async function isTaken(target: string): Promise<boolean> {
  const stat = await lstat(target).catch(() => null);
  return stat !== null && (!stat.isDirectory() || (await readdir(target)).length > 0);
}

/**
 * Makes the directory beside the target, or takes the one that an earlier attempt of this user left. Its name can be
 * predicted: in a directory that others may write to, they could have put one there, with links in it.
 */
async function ensureStage(stage: string): Promise<void> {
  await mkdir(dirname(stage), { recursive: true });
  try {
    await mkdir(stage, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (!(await isOwnDirectory(stage))) throw conflicting(stage);
  }
}

/** Whether it is a directory of this user that no other may write to. */
async function isOwnDirectory(path: string): Promise<boolean> {
  const stat = await lstat(path).catch(() => null);
  const isOwn = process.getuid === undefined || stat?.uid === process.getuid();
  return stat !== null && stat.isDirectory() && isOwn && (stat.mode & 0o022) === 0;
}

/** A small object can hold what thousands of files have: the sizes are compared with the disk before anything is written. */
async function assertFits(directory: string, files: readonly FileEntry[]): Promise<void> {
  const needed = files.reduce((sum, { size }) => sum + size, 0);
  const { bavail, bsize } = await statfs(directory);
  if (needed <= bavail * bsize) return;
  throw new Problem(
    'DISK_FULL',
    `The files need ${formatSize(needed)}; the disk of ${sanitizeForTerminal(directory)} has ${formatSize(bavail * bsize)} left.`,
    { next: 'Free some space there, or name a directory on another disk with --output.' },
  );
}

function conflicting(target: string): Problem {
  return new Problem('TARGET_TAKEN', `${sanitizeForTerminal(target)} exists already.`, {
    next: 'Choose a new or empty directory: --output=<directory>',
  });
}

/** @returns whether the file's content is to be fetched: an earlier attempt has not left it there. */
async function begin(path: string, { size, sha256 }: FileEntry): Promise<boolean> {
  const stat = await lstat(path).catch(() => null);
  if (stat?.isFile() && stat.size === size && readContent(path)?.sha256 === sha256) return false;
  await rm(path, { recursive: true, force: true });
  await (await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o644)).close();
  return true;
}

async function write(path: string, offset: number, data: Buffer): Promise<void> {
  const file = await open(path, constants.O_WRONLY | (constants.O_NOFOLLOW ?? 0));
  try {
    for (let done = 0; done < data.length;)
      done += (await file.write(data, done, data.length - done, offset + done)).bytesWritten;
  } finally {
    await file.close();
  }
}

async function link(path: string, to: string): Promise<void> {
  await rm(path, { force: true });
  await symlink(to, path);
}

/** What is on the disk, read again, must have the snapshot's id. */
async function verify(directory: string, { snapshot }: StoredSnapshot): Promise<void> {
  const of = (...kinds: Entry['kind'][]) =>
    snapshot.entries.filter(({ kind }) => kinds.includes(kind)).map(({ path }) => path);
  const { snapshot: found } = await scan({
    workspaceRoot: directory,
    paths: of('file', 'link').sort(),
    emptyDirectories: of('directory').sort(),
  });
  if (found.id === snapshot.id) return;
  const { deleted: gone, changed } = difference(snapshot, found);
  const paths = [...gone, ...changed.map(({ path }) => path)].slice(0, 5).map(sanitizeForTerminal).join(', ');
  throw new Problem('RESTORE_MISMATCH', `The files written to ${directory} differ from the snapshot: ${paths}.`, {
    next: 'Another program is writing there, or the file system does not preserve executable bits, links or names.',
  });
}
