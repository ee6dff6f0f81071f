import { z } from 'zod';
import { POINTER } from '../../config/settings/outputs';
import { repeatOptions } from '../../report/repeated-options';
import { nxRun } from '../../report/shell-words';
import { path, text } from '../../report/text-schema';
import type { StoredFile } from '../record/file-lists';

/** What comes back in the place of an artifact that stays in the store: which one, and how to get it. */
export interface Pointer {
  run: string;
  /** Project-relative. */
  path: string;
  /** bytes */
  size: number;
  sha256: string;
  /** A command line for a POSIX shell, for people: no program runs it. */
  how: string;
}

/** A larger file is no pointer, bytes. */
const MAX_POINTER_BYTES = 64 * 1024;

const schema = z.object({
  run: z.string().min(1).max(200),
  path: path(),
  size: z.number().int().nonnegative(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  how: text(16384),
});

/** The path of the pointer to an artifact. */
export function pointerPath(path: string): string {
  return path + POINTER;
}

/** Whether a path is that of a pointer; `.nx-ec2.json` alone is the record of what a collection brought. */
export function isPointer(path: string): boolean {
  return path.endsWith(POINTER) && !/(^|[\\/])$/.test(path.slice(0, -POINTER.length));
}

export function pointerTo(project: string, run: string, file: Pick<StoredFile, 'path' | 'size' | 'sha256'>): Pointer {
  // The file is the same whoever writes it.
  const how = repeatOptions([], () => nxRun(project, 'remote-pull', `--run=${run}`, `--path=${file.path}`));
  return { run, path: file.path, size: file.size, sha256: file.sha256, how };
}

/** As the file holds it. */
export function formatPointer({ run, path, size, sha256, how }: Pointer): string {
  return `${JSON.stringify({ run, path, size, sha256, how }, null, 2)}\n`;
}

/** null: it is no pointer. */
export function parsePointer(text: string): Pointer | null {
  if (text.length > MAX_POINTER_BYTES) return null;
  try {
    return schema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}
