import { sanitizeForTerminal } from '../report/terminal-text';
import type { Printer } from '../report/printer';
import { formatCount, formatDuration, formatSize } from '../report/units';
import type { EditResult } from './send-edit';
import { describeReply } from '../project/sync-project';

/** What a watch has done: a line for each edit, and a summary. */
export class WatchStats {
  private readonly since = performance.now();
  private edits = 0;
  private files = 0;
  private bytes = 0;
  private slowest = 0;
  /** How often the watcher was started again. */
  starts = 0;

  /** @param ms from the file event to the acknowledgement. */
  add(printer: Printer, instance: string, edit: EditResult, ms: number): void {
    this.edits++;
    this.files += edit.changed.length + edit.deleted.length;
    this.bytes += edit.bytes;
    this.slowest = Math.max(this.slowest, ms);
    printer.line(`${describe(edit)} in ${formatLag(ms)}`);
    describeReply(printer, instance, edit.reply);
  }

  summary(): string {
    const what = this.edits
      ? `${formatCount(this.edits, 'edit')}, ${formatCount(this.files, 'file')} (${formatSize(this.bytes)}), the slowest in ${formatLag(this.slowest)}`
      : 'nothing changed';
    const starts = this.starts ? `; its watcher was started again ${formatCount(this.starts, 'time')}` : '';
    return `Watched for ${formatDuration(performance.now() - this.since)}: ${what}${starts}.`;
  }

  result(): object {
    const { edits, files, bytes, slowest, starts } = this;
    return { edits, files, bytes, slowest: Math.round(slowest), starts };
  }
}

function describe({ changed, deleted, bytes }: EditResult): string {
  const size = bytes ? ` (${formatSize(bytes)})` : '';
  if (changed.length + deleted.length === 1)
    return changed.length
      ? `Synced ${sanitizeForTerminal(changed[0])}${size}`
      : `Deleted ${sanitizeForTerminal(deleted[0])}`;
  const deletions = deleted.length ? `${formatCount(deleted.length, 'file')} deleted` : '';
  const written = changed.length ? `${formatCount(changed.length, 'file')}${size}` : '';
  return `Synced ${[written, deletions].filter(Boolean).join(', ')}`;
}

function formatLag(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : formatDuration(ms);
}
