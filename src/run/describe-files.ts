import type { Reporter } from '../report/reporter';
import { printable } from '../report/terminal-text';
import { formatCount, formatSize } from '../report/units';
import type { FoundFiles } from '../workspace/files';
import type { Snapshot } from '../snapshot/snapshot';

const LARGEST = 10;

/** `--dryRun`: what would be sent, and what is left out, and why. */
export function describeFiles(reporter: Reporter, snapshot: Snapshot, files: FoundFiles): void {
  for (const entry of snapshot.entries) {
    const size = entry.kind === 'file' ? formatSize(entry.size).padStart(10) : ''.padStart(10);
    const what = entry.kind === 'link' ? ` -> ${printable(entry.target)}` : entry.kind === 'directory' ? '/' : '';
    reporter.line(`${size}  ${printable(entry.path)}${what}`);
  }
  describeLeftOut(files, (text) => reporter.line(text));
  reporter.line(
    `Would send ${formatCount(snapshot.entries.length, 'file')}, ${formatSize(totalSize(snapshot))}. Nothing was sent.`,
  );
}

export function describeLeftOut(files: FoundFiles, say: (text: string) => void): void {
  if (files.leftOut.length === 0) return;
  say(`Left out:`);
  for (const { path, why } of files.leftOut) say(`  ${printable(path)}  (${why})`);
}

/** Names the largest files where the whole is larger than `sync.warnSize`, before anything is sent. */
export function warnLarge(reporter: Reporter, snapshot: Snapshot, bytes: number, warnSize: number): void {
  if (bytes <= warnSize) return;
  const largest = snapshot.entries
    .flatMap((entry) => (entry.kind === 'file' ? [entry] : []))
    .sort((a, b) => b.size - a.size)
    .slice(0, LARGEST);
  reporter.warn(`${formatSize(bytes)} will be sent (sync.warnSize is ${formatSize(warnSize)}). The largest files:`);
  for (const { path, size } of largest) reporter.line(`${formatSize(size).padStart(12)}  ${printable(path)}`);
}

export function totalSize(snapshot: Snapshot): number {
  return snapshot.entries.reduce((sum, entry) => sum + (entry.kind === 'file' ? entry.size : 0), 0);
}
