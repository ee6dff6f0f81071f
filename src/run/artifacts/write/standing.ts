import { lstatSync } from 'node:fs';
import { join } from 'node:path';

/**
 * What stood at paths when it was looked at first: artifacts take hours to come, and what somebody has written there
 * meanwhile was never compared with what was sent.
 */
export class Standing {
  private readonly seen: Map<string, string>;

  /** @param paths relative to `root`. */
  constructor(
    private readonly root: string,
    paths: readonly string[],
  ) {
    this.seen = new Map(paths.map((path) => [path, look(join(root, path))]));
  }

  /** Whether something else is there now; of a path that was not looked at: whether anything is. */
  hasChanged(path: string): boolean {
    return look(join(this.root, path)) !== (this.seen.get(path) ?? '');
  }

  /** Looks again: what is there was changed by us. */
  renew(path: string): void {
    this.seen.set(path, look(join(this.root, path)));
  }
}

/** Another text after each change of what is at a path; links are not followed. */
function look(path: string): string {
  try {
    const { ino, mode, size, mtimeNs, ctimeNs } = lstatSync(path, { bigint: true });
    return [ino, mode, size, mtimeNs, ctimeNs].join(' ');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'].includes(code ?? '')) return '';
    throw error;
  }
}
