import { createHash } from 'node:crypto';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { comparePaths, pathFault, targetFault, type Entry } from './entry';

export type { Entry, FileEntry } from './entry';

const HEADER = 'nx-ec2 snapshot 1';

/** The sorted entries of a sync. Same files, same id, on every machine. Format: docs/FORMAT.md, "Snapshot". */
export class Snapshot {
  private constructor(
    readonly entries: readonly Entry[],
    /** The bytes that the id is the hash of. */
    readonly canonical: Buffer,
    readonly id: string,
  ) {}

  /**
   * @throws Problem for a path or a link that may not be in a snapshot, and for two paths that are one name on some
   * file systems.
   */
  static of(entries: Iterable<Entry>): Snapshot {
    const sorted = [...entries].sort((a, b) => comparePaths(a.path, b.path));
    refuseFaults(sorted);
    const canonical = Buffer.from([HEADER, ...sorted.map(record)].map((each) => `${each}\0`).join(''));
    return new Snapshot(sorted, canonical, createHash('sha256').update(canonical).digest('hex'));
  }

  /** Reads a canonical form. Throws an Error for anything that `of` would not have written. */
  static parse(bytes: Buffer): Snapshot {
    const fields = bytes.toString('utf8').split('\0');
    if (fields.shift() !== HEADER || fields.pop() !== '') throw new Error('not a snapshot of this version');
    const entries: Entry[] = [];
    while (fields.length) {
      const text = fields.shift()!;
      const file = /^f ([x-]) (\d+) ([0-9a-f]{64}) ([^]+)$/.exec(text);
      if (file) {
        entries.push({
          kind: 'file',
          executable: file[1] === 'x',
          size: Number(file[2]),
          sha256: file[3],
          path: file[4],
        });
      } else if (text.startsWith('l ') && fields.length) {
        entries.push({ kind: 'link', path: text.slice(2), target: fields.shift()! });
      } else if (text.startsWith('d ')) {
        entries.push({ kind: 'directory', path: text.slice(2) });
      } else {
        throw new Error('a record of a snapshot is damaged');
      }
    }
    const snapshot = Snapshot.of(entries);
    if (!snapshot.canonical.equals(bytes)) throw new Error('a snapshot is not in canonical form');
    return snapshot;
  }
}

/** What nothing was ever synced to holds. */
export const EMPTY_SNAPSHOT = Snapshot.of([]);

function record(entry: Entry): string {
  switch (entry.kind) {
    case 'file':
      return `f ${entry.executable ? 'x' : '-'} ${entry.size} ${entry.sha256} ${entry.path}`;
    case 'link':
      return `l ${entry.path}\0${entry.target}`;
    case 'directory':
      return `d ${entry.path}`;
  }
}

function refuseFaults(sorted: readonly Entry[]): void {
  const spellings = new Map<string, string>();
  const leaves = new Set<string>();
  for (const entry of sorted) {
    const fault = pathFault(entry.path);
    if (fault) throw invalid(`The path ${printable(entry.path)} ${fault}.`);
    if (entry.kind === 'link') {
      const bad = targetFault(entry.path, entry.target);
      if (bad) throw invalid(`The symbolic link ${printable(entry.path)} -> ${printable(entry.target)} ${bad}.`);
    }
    if (leaves.has(entry.path)) throw invalid(`The path ${printable(entry.path)} is there twice.`);
    leaves.add(entry.path);
  }
  for (const { path } of sorted) {
    for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1)) {
      const part = path.slice(0, end);
      if (end < path.length && leaves.has(part))
        throw invalid(`The path ${printable(part)} is both an entry and a directory.`);
      const key = part.normalize('NFC').toLowerCase();
      const other = spellings.get(key);
      if (other === part) break;
      if (other !== undefined) {
        throw new Problem(
          'NAME_COLLISION',
          `${printable(other)} and ${printable(part)} are one name on some file systems.`,
          {
            next: 'Rename one of them, or leave one out with "sync.exclude".',
          },
        );
      }
      spellings.set(key, part);
    }
  }
}

function invalid(what: string): Problem {
  return new Problem('PATH_INVALID', what, { next: 'Rename it, or leave it out with "sync.exclude".' });
}
