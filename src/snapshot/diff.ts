import type { Entry, FileEntry } from './entry';
import { Snapshot } from './snapshot';

/** The entries of `wanted` whose contents `base` does not hold anywhere, each content once, in `wanted`'s order. */
export function missingContents(base: Snapshot, wanted: Snapshot): FileEntry[] {
  const known = new Set<string>();
  for (const entry of base.entries) if (entry.kind === 'file') known.add(entry.sha256);
  const missing: FileEntry[] = [];
  for (const entry of wanted.entries) {
    if (entry.kind !== 'file' || known.has(entry.sha256)) continue;
    known.add(entry.sha256);
    missing.push(entry);
  }
  return missing;
}

/** What turns one snapshot into another: paths that go, entries that come or are otherwise. */
export interface Delta {
  deleted: string[];
  changed: Entry[];
}

export function difference(base: Snapshot, wanted: Snapshot): Delta {
  const before = new Map(base.entries.map((entry) => [entry.path, entry]));
  const changed: Entry[] = [];
  for (const entry of wanted.entries) {
    const old = before.get(entry.path);
    before.delete(entry.path);
    if (!old || !isSame(old, entry)) changed.push(entry);
  }
  return { deleted: [...before.keys()], changed };
}

/** @throws Problem where the result is no snapshot. */
export function applyDelta(base: Snapshot, { deleted: gone, changed }: Delta): Snapshot {
  const entries = new Map(base.entries.map((entry) => [entry.path, entry]));
  for (const path of gone) entries.delete(path);
  for (const entry of changed) entries.set(entry.path, entry);
  return Snapshot.of(entries.values());
}

function isSame(a: Entry, b: Entry): boolean {
  if (a.kind === 'file')
    return b.kind === 'file' && a.sha256 === b.sha256 && a.size === b.size && a.executable === b.executable;
  if (a.kind === 'link') return b.kind === 'link' && a.target === b.target;
  return b.kind === 'directory';
}
