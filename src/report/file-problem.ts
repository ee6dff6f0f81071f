import { dirname } from 'node:path';
import { isNativeError } from 'node:util/types';
import { Problem } from './problem';

/** What to say of a system call on a file that failed, by its code. `path` is where it was; null: not known. */
const CAUSES: Record<string, (path: string | null) => [what: string, next: string]> = {
  ENOSPC: (path) => [
    path ? `The disk of ${dirname(path)} is full: ${path} could not be written.` : 'A disk is full.',
    'Free some space there and run the same command again.',
  ],
  EDQUOT: (path) => [
    path ? `The disk quota is used up: ${path} could not be written.` : 'A disk quota is used up.',
    'Free some space there and run the same command again.',
  ],
  EFBIG: (path) => [
    `${path ?? 'A file'} would be larger than this process may write.`,
    'Raise the limit (ulimit -f) or use a file system that allows larger files, and run the same command again.',
  ],
  EROFS: (path) => [
    `${path ?? 'A file'} can't be written: its file system is read-only.`,
    'Choose another directory, or mount it writable.',
  ],
  EIO: (path) => [`The disk failed at ${path ?? 'a file'} (EIO).`, 'Check the disk.'],
  EMFILE: (path) => tooMany('this process', path),
  ENFILE: (path) => tooMany('this machine', path),
  ENOENT: gone,
  ENOTDIR: gone,
  EACCES: (path) => [`There is no permission to use ${path ?? 'a file'}.`, 'Check who owns it, and its mode.'],
  EPERM: (path) => [`There is no permission to use ${path ?? 'a file'}.`, 'Check who owns it, and its mode.'],
};

function gone(path: string | null): [what: string, next: string] {
  return [
    `${path ?? 'A file'} was moved or removed while it was in use, or its directory was.`,
    'Run the same command again, while no other program changes that directory.',
  ];
}

function tooMany(who: string, path: string | null): [what: string, next: string] {
  return [
    `Too many files are open in ${who}${path ? `: ${path} could not be opened` : ''}.`,
    'Raise the limit (for a shell: ulimit -n 4096) and run the same command again.',
  ];
}

/**
 * Describes a system call on a file that failed, as the user's to mend: a full disk, a quota, a limit, a permission, a file
 * that is not there any more.
 * @param at the file, where the error does not name it.
 * @returns undefined for any other error.
 */
export function fileProblem(error: unknown, at: string | null = null): Problem | undefined {
  if (error instanceof Problem || !isNativeError(error)) return undefined;
  const { code = '', path, syscall } = error as NodeJS.ErrnoException;
  // Of a program that can't be started, its caller knows what to say.
  if (syscall === undefined || syscall.startsWith('spawn') || !Object.hasOwn(CAUSES, code)) return undefined;
  const [what, next] = CAUSES[code](at ?? path ?? null);
  return new Problem(code === 'ENOSPC' || code === 'EDQUOT' ? 'DISK_FULL' : 'FILE_ERROR', what, { next, cause: error });
}

/** Does work on a file, which a Problem names where the system fails it. */
export async function onFile<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fileProblem(error, path) ?? error;
  }
}
