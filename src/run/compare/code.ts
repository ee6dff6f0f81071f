import { isUtf8 } from 'node:buffer';
import { Problem } from '../../report/problem';
import { difference } from '../../snapshot/diff';
import type { Entry, FileEntry } from '../../snapshot/entry';
import type { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';
import { readContents } from '../../sync/restore/read-contents';
import { readSnapshot, type StoredSnapshot } from '../../sync/manifest/read-snapshot';
import { comparePackages, isLockFile, isReadable, type PackageChanges } from './packages';

/** A run's code in the store. */
export interface StoredCode {
  store: Store;
  keys: StoreKeys;
  /** The snapshot's id. */
  snapshot: string;
}

export interface CodeDifference {
  same: boolean;
  added: Entry[];
  removed: Entry[];
  changed: FileChange[];
  /** Files among these that pin packages. */
  lockFiles: string[];
  packages: PackageChanges[];
  /** Why it can't be said what differs; null where it can. */
  trouble: string | null;
}

export interface FileChange {
  path: string;
  before: Entry;
  after: Entry;
  /** Hunks of a unified diff; null where there is none. */
  diff: string | null;
  /** Why there is none. */
  why: 'too large' | 'not text' | 'not in the store' | 'too different' | 'packages' | 'same content' | null;
}

/** Files larger than this, bytes, and all after so many, are not shown line by line. */
const MAX_TEXT_BYTES = 256 * 1024;
const MAX_FILES = 200;
/** Lock files are larger. */
const MAX_LOCK_BYTES = 8 * 1024 * 1024;
const HUNKS = { context: 3, maxEditLength: 10_000, timeout: 1_000 };

/** Where the store can't tell what a snapshot was, or what a file held, that is said: no error. */
export async function compareCode(
  before: StoredCode,
  after: StoredCode,
  warn: (text: string) => void,
): Promise<CodeDifference> {
  const none = { added: [], removed: [], changed: [], lockFiles: [], packages: [], trouble: null };
  if (before.snapshot === after.snapshot) return { same: true, ...none };
  const read = await Promise.all(
    [before, after].map(({ store, keys, snapshot }) =>
      readSnapshot(store, keys, snapshot).catch((error: unknown) => {
        if (error instanceof Problem && /^SNAPSHOT_/.test(error.code)) return error;
        throw error;
      }),
    ),
  );
  const failed = read.find((each) => each instanceof Problem);
  if (failed) return { same: false, ...none, trouble: failed.message };
  const [old, now] = read as StoredSnapshot[];
  const { deleted: gone, changed } = difference(old.snapshot, now.snapshot);
  const was = new Map(old.snapshot.entries.map((entry) => [entry.path, entry]));
  const both = changed.flatMap((entry) => {
    const earlier = was.get(entry.path);
    return earlier ? [{ before: earlier, after: entry }] : [];
  });
  const added = changed.filter(({ path }) => !was.has(path));
  const removed = gone.map((path) => was.get(path)!);
  const wanted = both.filter(isWanted).slice(0, MAX_FILES) as { before: FileEntry; after: FileEntry }[];
  const [left, right] = await Promise.all([
    readContents(
      before.store,
      before.keys,
      old,
      wanted.map((each) => each.before),
      warn,
    ),
    readContents(
      after.store,
      after.keys,
      now,
      wanted.map((each) => each.after),
      warn,
    ),
  ]);
  const packages: PackageChanges[] = [];
  const files: FileChange[] = [];
  for (const each of both) {
    const { path } = each.after;
    const [a, b] = wanted.includes(each as (typeof wanted)[number])
      ? [contentOf(left, each.before), contentOf(right, each.after)]
      : [];
    files.push({ path, ...each, ...(await compareFile(each, a, b, packages)) });
  }
  const lockFiles = [...added, ...removed, ...both.map((each) => each.after)]
    .map(({ path }) => path)
    .filter(isLockFile);
  return { same: false, added, removed, changed: files, lockFiles, packages, trouble: null };
}

function contentOf(contents: Map<string, Buffer>, entry: Entry): Buffer | undefined {
  return entry.kind === 'file' ? contents.get(entry.sha256) : undefined;
}

function isWanted({ before, after }: { before: Entry; after: Entry }): boolean {
  if (before.kind !== 'file' || after.kind !== 'file' || before.sha256 === after.sha256) return false;
  return Math.max(before.size, after.size) <= (isReadable(after.path) ? MAX_LOCK_BYTES : MAX_TEXT_BYTES);
}

/** @param packages takes what a lock file says, in place of a diff. */
async function compareFile(
  { before, after }: { before: Entry; after: Entry },
  old: Buffer | undefined,
  now: Buffer | undefined,
  packages: PackageChanges[],
): Promise<Pick<FileChange, 'diff' | 'why'>> {
  if (before.kind !== 'file' || after.kind !== 'file') return { diff: null, why: null };
  if (before.sha256 === after.sha256) return { diff: null, why: 'same content' };
  if (!isWanted({ before, after })) return { diff: null, why: 'too large' };
  if (!old || !now) return { diff: null, why: 'not in the store' };
  if (![old, now].every((bytes) => isUtf8(bytes) && !bytes.includes(0))) return { diff: null, why: 'not text' };
  const [a, b] = [old.toString(), now.toString()];
  if (isReadable(after.path)) {
    const changes = await comparePackages(after.path, a, b).catch(() => null);
    if (changes) {
      packages.push(changes);
      return { diff: null, why: 'packages' };
    }
  }
  if (Math.max(before.size, after.size) > MAX_TEXT_BYTES) return { diff: null, why: 'too large' };
  const { formatPatch, OMIT_HEADERS, structuredPatch } = await import('diff');
  const patch = structuredPatch('', '', a, b, undefined, undefined, HUNKS);
  return patch ? { diff: formatPatch(patch, OMIT_HEADERS), why: null } : { diff: null, why: 'too different' };
}
