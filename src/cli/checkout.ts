import { resolve } from 'node:path';
import { Reporter } from '../report/reporter';
import { printable } from '../report/terminal-text';
import { formatCount, formatSize } from '../report/units';
import { readSnapshot } from '../sync/read-snapshot';
import { restoreSnapshot } from '../sync/restore-snapshot';
import { withRun, type WhereOptions } from './named-run';
import { reportOutcome } from './outcome';

export interface CheckoutOptions extends WhereOptions {
  output?: string;
  verbose?: boolean;
  json?: boolean;
}

/** Brings the code that a run ran, exactly, into a directory of its own. */
export function checkout(run: string, options: CheckoutOptions, reporter = new Reporter(options)): Promise<void> {
  return reportOutcome(reporter, () =>
    withRun(run, options, async ({ store, keys, record }) => {
      const directory = resolve(options.output ?? record.id);
      const stored = await readSnapshot(store, keys, record.snapshot);
      const sizes = new Map(
        stored.snapshot.entries.flatMap((entry) => (entry.kind === 'file' ? [[entry.sha256, entry.size]] : [])),
      );
      const bytes = [...sizes.values()].reduce((sum, size) => sum + size, 0);
      const progress = reporter.progress('Fetching', bytes);
      try {
        await restoreSnapshot(store, keys, stored, directory, { onProgress: (done) => progress.update(done) });
      } finally {
        progress.end();
      }
      const { size: entries } = stored.snapshot;
      const { git } = record.description;
      const commit = git ? `, commit ${git.commit.slice(0, 12)}${git.dirty ? ' with changes' : ''}` : '';
      reporter.line(
        `${printable(directory)}: what ${record.id} ran, ${formatCount(entries, 'file')}, ${formatSize(bytes)}${printable(commit)}`,
      );
      reporter.detail(`Snapshot ${record.snapshot}, verified.`);
      return { run: record.id, snapshot: record.snapshot, directory, entries, bytes };
    }),
  );
}
