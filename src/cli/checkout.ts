import { resolve } from 'node:path';
import { Printer } from '../report/printer';
import { sanitizeForTerminal, printablePath } from '../report/terminal-text';
import { formatCount, formatSize } from '../report/units';
import { Snapshot, type Entry } from '../snapshot/snapshot';
import { readSnapshot, type StoredSnapshot } from '../sync/manifest/read-snapshot';
import { restoreSnapshot } from '../sync/restore/checkout-snapshot';
import { bareRepositoryFiles, toolFile } from '../workspace/tool-files';
import { assertHidden, besideWorkspace } from './checkout-directory';
import { withRun, type WhereOptions } from './named-run';
import { reportOutcome } from './outcome';

export interface CheckoutOptions extends WhereOptions {
  output?: string;
  verbose?: boolean;
  json?: boolean;
}

/** Writes the exact code of a run into a directory of its own. */
export function checkout(run: string, options: CheckoutOptions, printer = new Printer(options)): Promise<void> {
  return reportOutcome(printer, () =>
    withRun(run, options, async ({ store, keys, record }) => {
      const directory =
        options.output === undefined ? besideWorkspace(process.cwd(), record.id) : resolve(options.output);
      assertHidden(directory, record.id);
      const { stored, heldBack } = withoutControl(await readSnapshot(store, keys, record.snapshot));
      if (heldBack.length > 0)
        printer.warn(
          `Not written, because git or another version control tool would act on these files: ${heldBack.slice(0, 10).map(printablePath).join(', ')}`,
        );
      const sizes = new Map(
        stored.snapshot.entries.flatMap((entry) => (entry.kind === 'file' ? [[entry.sha256, entry.size]] : [])),
      );
      const bytes = [...sizes.values()].reduce((sum, size) => sum + size, 0);
      const progress = printer.progress('Fetching', bytes);
      try {
        await restoreSnapshot(store, keys, stored, directory, {
          warn: (text) => printer.warn(text),
          onProgress: (done) => progress.update(done),
        });
      } finally {
        progress.end();
      }
      const { size: entries } = stored.snapshot;
      const { git } = record.metadata;
      const commit = git ? `, commit ${git.commit.slice(0, 12)}${git.dirty ? ' with changes' : ''}` : '';
      printer.line(
        `${sanitizeForTerminal(directory)}: the code of ${record.id}, ${formatCount(entries, 'file')}, ${formatSize(bytes)}${sanitizeForTerminal(commit)}`,
      );
      printer.detail(`Snapshot ${record.snapshot}, verified.`);
      return { run: record.id, snapshot: record.snapshot, directory, entries, bytes, heldBack };
    }),
  );
}

/** A snapshot without what lies in directories of version control. */
function withoutControl(stored: StoredSnapshot): { stored: StoredSnapshot; heldBack: string[] } {
  const { entries } = stored.snapshot;
  const heads = bareRepositoryFiles(entries.map(({ path }) => path));
  const isHeld = ({ path }: Entry) => heads.has(path) || toolFile(path)?.control === true;
  const heldBack = entries.filter(isHeld).map(({ path }) => path);
  if (heldBack.length === 0) return { stored, heldBack };
  const snapshot = Snapshot.of(entries.filter((entry) => !isHeld(entry)));
  return { stored: { ...stored, snapshot }, heldBack };
}
