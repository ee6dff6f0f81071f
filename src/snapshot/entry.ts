import { posix } from 'node:path';

/** One path of a tree. Paths are workspace-relative, `/`-separated (docs/reference/formats.md, "Snapshot"). */
export type Entry = FileEntry | LinkEntry | DirectoryEntry;

export interface FileEntry {
  kind: 'file';
  path: string;
  executable: boolean;
  /** bytes */
  size: number;
  sha256: string;
}

export interface LinkEntry {
  kind: 'link';
  path: string;
  /** As it is on disk: relative. */
  target: string;
}

/** An empty directory; one with something in it follows from its contents. */
export interface DirectoryEntry {
  kind: 'directory';
  path: string;
}

const MAX_PATH_BYTES = 4_096;
const MAX_COMPONENT_BYTES = 255;

/** Why a path can't be an entry's, or null where it can. Sizes are bytes of UTF-8. */
export function pathFault(path: string): string | null {
  if (path === '') return 'is empty';
  if (path.includes('\0')) return 'holds a NUL';
  if (!path.isWellFormed()) return 'is not valid Unicode';
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) return `is longer than ${MAX_PATH_BYTES} bytes`;
  for (const part of path.split('/')) {
    if (part === '' || part === '.' || part === '..') return `has the component "${part}"`;
    if (Buffer.byteLength(part) > MAX_COMPONENT_BYTES)
      return `has a component longer than ${MAX_COMPONENT_BYTES} bytes`;
  }
  return null;
}

/**
 * Why a link's target can't be an entry's, or null. Resolved by text alone, it must stay inside the workspace; `..` stands
 * at its start only, since after a name it would leave what that name leads to.
 */
export function targetFault(path: string, target: string): string | null {
  if (target === '') return 'is empty';
  if (target.includes('\0')) return 'holds a NUL';
  if (!target.isWellFormed()) return 'is not valid Unicode';
  if (target.startsWith('/')) return 'is absolute';
  const names = target.split('/').filter((name) => name !== '' && name !== '.');
  const start = names.findIndex((name) => name !== '..');
  if (start >= 0 && names.includes('..', start)) return 'has a ".." after a name';
  const resolved = resolveTarget(path, target);
  if (resolved === '..' || resolved.startsWith('../')) return 'leads out of the workspace';
  return null;
}

/** Where a link leads by text alone, `.` for the workspace itself. */
function resolveTarget(path: string, target: string): string {
  return posix.normalize(posix.join(posix.dirname(path), target)).replace(/\/$/, '');
}

/** The link among `links` that the way to another link's target leads through; undefined where there is none. */
export function linkOnTheWay({ path, target }: LinkEntry, links: ReadonlySet<string>): string | undefined {
  const resolved = resolveTarget(path, target);
  for (let end = resolved.indexOf('/'); end > 0; end = resolved.indexOf('/', end + 1)) {
    if (links.has(resolved.slice(0, end))) return resolved.slice(0, end);
  }
  return undefined;
}

/** The order of entries: by the bytes of their paths. */
export function comparePaths(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
