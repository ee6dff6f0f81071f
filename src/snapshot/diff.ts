import type { FileEntry } from './entry';
import type { Snapshot } from './snapshot';

/** The entries of `wanted` whose contents `base` does not hold anywhere, each content once, in `wanted`'s order. */
export function lackingContents(base: Snapshot, wanted: Snapshot): FileEntry[] {
  const known = new Set<string>();
  for (const entry of base.entries) if (entry.kind === 'file') known.add(entry.sha256);
  const lacking: FileEntry[] = [];
  for (const entry of wanted.entries) {
    if (entry.kind !== 'file' || known.has(entry.sha256)) continue;
    known.add(entry.sha256);
    lacking.push(entry);
  }
  return lacking;
}
