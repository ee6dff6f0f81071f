import { createHash } from 'node:crypto';
import { Problem } from '../report/problem';
import { sanitizeForTerminal } from '../report/terminal-text';
import { comparePaths, linkOnTheWay, pathFault, targetFault, type Entry, type LinkEntry } from './entry';

export type { Entry, FileEntry } from './entry';

const HEADER = 'nx-ec2 snapshot 1';

/** The sorted entries of a sync. Same files, same id, on every machine. Format: docs/reference/formats.md, "Snapshot". */
export class Snapshot {
  private made?: Buffer;

  private constructor(
    private listed: readonly Entry[],
    private sorted: boolean,
    readonly id: string,
  ) {}

  /** By the bytes of their paths. */
  get entries(): readonly Entry[] {
    if (!this.sorted) this.listed = sortEntries(this.listed);
    this.sorted = true;
    return this.listed;
  }

  /** The bytes that the id is the hash of. */
  get canonical(): Buffer {
    return (this.made ??= canonicalForm(this.entries));
  }

  get size(): number {
    return this.listed.length;
  }

  /**
   * @throws Problem for a path or a link that may not be in a snapshot, and for two paths that are one name on some
   * file systems.
   */
  static of(entries: Iterable<Entry>): Snapshot {
    const sorted = sortEntries([...entries]);
    assertNoFaults(sorted);
    const canonical = canonicalForm(sorted);
    const snapshot = new Snapshot(sorted, true, createHash('sha256').update(canonical).digest('hex'));
    snapshot.made = canonical;
    return snapshot;
  }

  /** One that was made of these very entries before, in whatever order: nothing is checked or computed again. */
  static known(entries: readonly Entry[], id: string): Snapshot {
    return new Snapshot(entries, false, id);
  }

  /** Reads a canonical form. Throws an Error for anything that `of` would not have written. */
  static parse(bytes: Buffer): Snapshot {
    const text = bytes.toString('utf8');
    if (!text.startsWith(`${HEADER}\0`)) throw new Error('not a snapshot of this version');
    const snapshot = Snapshot.of(parseEntries(text.slice(HEADER.length + 1)));
    if (!snapshot.canonical.equals(bytes)) throw new Error('a snapshot is not in canonical form');
    return snapshot;
  }
}

/** Parses lines of a canonical form, each with its NULs. Throws an Error if one is not an entry. */
export function parseEntries(text: string): Entry[] {
  const fields = text.split('\0');
  if (fields.pop() !== '') throw new Error('an entry of a snapshot is cut off');
  const entries: Entry[] = [];
  for (let at = 0; at < fields.length; at++) {
    const field = fields[at];
    const file = /^f ([x-]) (\d+) ([0-9a-f]{64}) ([^]+)$/.exec(field);
    if (file) {
      entries.push({
        kind: 'file',
        executable: file[1] === 'x',
        size: Number(file[2]),
        sha256: file[3],
        path: file[4],
      });
    } else if (field.startsWith('l ') && at + 1 < fields.length) {
      entries.push({ kind: 'link', path: field.slice(2), target: fields[++at] });
    } else if (field.startsWith('d ')) {
      entries.push({ kind: 'directory', path: field.slice(2) });
    } else {
      throw new Error('an entry of a snapshot is damaged');
    }
  }
  return entries;
}

/** Entries as lines of a canonical form, each with its NULs. */
export function formatEntries(entries: readonly Entry[]): string {
  return entries.map((entry) => `${line(entry)}\0`).join('');
}

function canonicalForm(sorted: readonly Entry[]): Buffer {
  return Buffer.from(`${HEADER}\0${formatEntries(sorted)}`);
}

function sortEntries(entries: readonly Entry[]): readonly Entry[] {
  // UTF-16 sorts as UTF-8 does, but for what lies beyond its surrogates.
  const plain = !entries.some(({ path }) => /[\ud800-\uffff]/.test(path));
  const order: (a: string, b: string) => number = plain ? (a, b) => (a < b ? -1 : a > b ? 1 : 0) : comparePaths;
  const sorted = entries.every((entry, index) => index === 0 || order(entries[index - 1].path, entry.path) <= 0);
  return sorted ? entries : [...entries].sort((a, b) => order(a.path, b.path));
}

/** What nothing was ever synced to holds. */
export const EMPTY_SNAPSHOT = Snapshot.of([]);

function line(entry: Entry): string {
  switch (entry.kind) {
    case 'file':
      return `f ${entry.executable ? 'x' : '-'} ${entry.size} ${entry.sha256} ${entry.path}`;
    case 'link':
      return `l ${entry.path}\0${entry.target}`;
    case 'directory':
      return `d ${entry.path}`;
  }
}

function assertNoFaults(sorted: readonly Entry[]): void {
  const spellings = new Map<string, string>();
  const leaves = new Set<string>();
  for (const entry of sorted) {
    const fault = pathFault(entry.path);
    if (fault) throw invalid(`The path ${sanitizeForTerminal(entry.path)} ${fault}.`);
    if (entry.kind === 'link') {
      const bad = targetFault(entry.path, entry.target);
      if (bad)
        throw invalid(
          `The symbolic link ${sanitizeForTerminal(entry.path)} -> ${sanitizeForTerminal(entry.target)} ${bad}.`,
        );
    }
    if (leaves.has(entry.path)) throw invalid(`The path ${sanitizeForTerminal(entry.path)} occurs twice.`);
    leaves.add(entry.path);
  }
  assertNoLinksThroughLinks(sorted.filter((entry) => entry.kind === 'link'));
  for (const { path } of sorted) {
    for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1)) {
      const part = path.slice(0, end);
      if (end < path.length && leaves.has(part))
        throw invalid(`The path ${sanitizeForTerminal(part)} is both an entry and a directory.`);
      const key = part.normalize('NFC').toLowerCase();
      const other = spellings.get(key);
      if (other === part) break;
      if (other !== undefined) {
        throw new Problem(
          'NAME_COLLISION',
          `${sanitizeForTerminal(other)} and ${sanitizeForTerminal(part)} are one name on some file systems.`,
          {
            next: 'Rename one of them, or leave one out with "sync.exclude".',
          },
        );
      }
      spellings.set(key, part);
    }
  }
}

/** By text each of two links can stay inside the workspace, and both together lead out of it. */
function assertNoLinksThroughLinks(links: readonly LinkEntry[]): void {
  const paths = new Set(links.map(({ path }) => path));
  for (const link of links) {
    const other = linkOnTheWay(link, paths);
    if (other === undefined) continue;
    throw new Problem(
      'LINK_OUTSIDE',
      `The symbolic link ${sanitizeForTerminal(link.path)} -> ${sanitizeForTerminal(link.target)} leads through the symbolic link ${sanitizeForTerminal(other)}.`,
      { next: 'Let it point to its target directly, or leave one of the two out with "sync.exclude".' },
    );
  }
}

function invalid(what: string): Problem {
  return new Problem('PATH_INVALID', what, { next: 'Rename it, or leave it out with "sync.exclude".' });
}
