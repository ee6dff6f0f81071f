import type { Printer } from '../report/printer';
import { printablePath } from '../report/terminal-text';
import { formatCount, formatSize } from '../report/units';
import type { Snapshot } from '../snapshot/snapshot';
import type { FoundFiles } from '../workspace/files/types';

const MAX_LISTED_FILES = 10;

/** `--dryRun`: lists what would be sent, and what is left out, and why. Returns the same for `--json`. */
export function describeFiles(
  printer: Printer,
  { snapshot, files }: { snapshot: Snapshot; files: FoundFiles },
): object {
  for (const entry of snapshot.entries) {
    const size = entry.kind === 'file' ? formatSize(entry.size).padStart(10) : ''.padStart(10);
    const what = entry.kind === 'link' ? ` -> ${printablePath(entry.target)}` : entry.kind === 'directory' ? '/' : '';
    printer.line(`${size}  ${printablePath(entry.path)}${what}`);
  }
  describeLeftOut(files, (text) => printer.line(text));
  const bytes = totalSize(snapshot);
  const count = snapshot.entries.length;
  printer.line(
    `Would send ${formatCount(count, 'file')}, ${formatSize(bytes)}, less what the instance has. Nothing was sent.`,
  );
  return { dryRun: true, snapshot: snapshot.id, files: count, bytes, leftOut: files.leftOut };
}

export function describeLeftOut(files: FoundFiles, say: (text: string) => void): void {
  if (files.leftOut.length === 0) return;
  say(`Left out:`);
  for (const { path, why } of files.leftOut) say(`  ${printablePath(path)}  (${why})`);
}

/** Names the largest files where the whole is larger than `sync.warnAbove`, before anything is sent. */
export function warnLarge(printer: Printer, snapshot: Snapshot, bytes: number, warnAbove: number): void {
  if (bytes <= warnAbove) return;
  const largest = snapshot.entries
    .flatMap((entry) => (entry.kind === 'file' ? [entry] : []))
    .sort((a, b) => b.size - a.size)
    .slice(0, MAX_LISTED_FILES);
  printer.warn(`${formatSize(bytes)} will be sent (sync.warnAbove is ${formatSize(warnAbove)}). The largest files:`);
  for (const { path, size } of largest) printer.line(`${formatSize(size).padStart(12)}  ${printablePath(path)}`);
}

export function totalSize(snapshot: Snapshot): number {
  return snapshot.entries.reduce((sum, entry) => sum + (entry.kind === 'file' ? entry.size : 0), 0);
}
