import { Aws } from '../aws/clients';
import { resolveConnection } from '../config/connection';
import { duration } from '../config/syntax/units';
import { prune as pruneStore, type Amount, type Pruned, type PruneStoreOptions } from '../prune/prune';
import { withOrigins } from '../config/sources/setting-origins';
import { Problem } from '../report/problem';
import { Printer } from '../report/printer';
import { sanitizeForTerminal } from '../report/terminal-text';
import { formatCount, formatNumber, formatSize } from '../report/units';
import { MIN_AGE_MS } from '../store/pending-deletes';
import { Store } from '../store/store';
import { nxLibrary } from '../system/nx-library';
import { readNxJson } from '../workspace/nx-json';

export interface PruneOptions {
  apply?: boolean;
  olderThan: string;
  refsOlderThan: string;
  keepSnapshots: string;
  runsOlderThan: string;
  keepRuns: string;
  bucket?: string;
  prefix?: string;
  region?: string;
  profile?: string;
  verbose?: boolean;
  json?: boolean;
}

/** Number of names that are listed without --verbose. */
const MAX_NAMED = 5;
/** Interval of the lines about progress without a known total, ms. */
const PROGRESS_INTERVAL_MS = 2_000;

const LABELS: Record<Parameters<NonNullable<PruneStoreOptions['onProgress']>>[0], string> = {
  indexes: 'Reading indexes',
  listing: 'Listing',
  manifests: 'Reading manifests',
  merging: 'Merging indexes',
  removing: 'Removing',
};

const KINDS: [keyof Pruned['kinds'], string][] = [
  ['pack', 'packs'],
  ['manifest', 'manifests'],
  ['ref', 'refs'],
  ['runtime', 'runtimes'],
  ['run', 'objects of runs'],
  ['key', 'keys'],
  ['temporary', 'temporary objects'],
];

/** Shows the unreachable objects of the store; with `apply`, marks and removes them. */
export async function prune(options: PruneOptions, printer = new Printer(options)): Promise<void> {
  try {
    const workspaceRoot = nxLibrary.workspaceRoot();
    const request = limits(options);
    const { bucket, prefix, region, profile } = options;
    const connection = resolveConnection({
      workspaceRoot,
      nxJson: readNxJson(workspaceRoot),
      options: { bucket, prefix, region, profile },
    });
    const aws = new Aws(connection);
    try {
      await aws.region();
      const store = new Store(aws, connection);
      const pruned = await pruneStore(store, connection.prefix, { ...request, onProgress: progress(printer) });
      say(printer, pruned, { ...options, ...connection });
      printer.result({
        success: true,
        bucket: connection.bucket,
        prefix: connection.prefix,
        applied: request.apply,
        ...pruned,
      });
    } catch (error) {
      throw withOrigins(error, connection.sources ?? []);
    } finally {
      aws.close();
    }
  } catch (error) {
    if (error instanceof Problem)
      printer.result({ success: false, error: { code: error.code, message: error.message, aws: error.aws } });
    throw error;
  }
}

function limits(options: PruneOptions): Omit<PruneStoreOptions, 'onProgress'> {
  const olderThan = ms('--older-than', options.olderThan);
  const refsOlderThan = ms('--refs-older-than', options.refsOlderThan);
  const runsOlderThan = ms('--runs-older-than', options.runsOlderThan);
  if (olderThan < MIN_AGE_MS)
    throw new Problem('PRUNE_OPTION', `--older-than=${options.olderThan} is less than 7d.`, {
      next: 'A sync may use objects for 7 days after it found them in the store. Write --older-than=7d or more.',
    });
  if (refsOlderThan < olderThan)
    throw new Problem('PRUNE_OPTION', `--refs-older-than=${options.refsOlderThan} is less than --older-than.`);
  if (runsOlderThan < olderThan)
    throw new Problem('PRUNE_OPTION', `--runs-older-than=${options.runsOlderThan} is less than --older-than.`);
  const keepSnapshots = whole('--keep-snapshots', options.keepSnapshots);
  const keepRuns = whole('--keep-runs', options.keepRuns);
  return { apply: options.apply ?? false, olderThan, refsOlderThan, keepSnapshots, runsOlderThan, keepRuns };
}

function whole(option: string, text: string): number {
  if (!/^\d{1,9}$/.test(text))
    throw new Problem('PRUNE_OPTION', `${option} takes a whole number, not ${sanitizeForTerminal(text)}.`);
  return Number(text);
}

function ms(option: string, text: string): number {
  const parsed = duration.safeParse(text);
  if (!parsed.success)
    throw new Problem('PRUNE_OPTION', `${option}: ${sanitizeForTerminal(text)} ${parsed.error.issues[0].message}.`);
  return parsed.data;
}

function progress(printer: Printer): PruneStoreOptions['onProgress'] {
  let said = Date.now();
  let bar: { what: string; total: number; is: ReturnType<Printer['progress']> } | undefined;
  return (what, done, total) => {
    if (total === 0) {
      if (Date.now() - said < PROGRESS_INTERVAL_MS) return;
      said = Date.now();
      return printer.line(`Listing the store: ${formatCount(done, 'object')} so far.`);
    }
    if (bar?.what !== what || bar.total !== total) {
      bar?.is.end();
      bar = { what, total, is: printer.progress(LABELS[what], total, formatNumber) };
    }
    bar.is.update(done);
    if (done === total) bar.is.end();
  };
}

function tableRow(name: string, cells: string[]): string {
  return `  ${name.padEnd(16)}${cells.map((text) => text.padStart(22)).join('')}`;
}

function say(printer: Printer, pruned: Pruned, options: PruneOptions & { prefix: string; bucket: string }): void {
  const { kinds, runs, staleRefs, unknown, indexes, next } = pruned;
  const all = Object.values(kinds);
  const sum = (which: keyof (typeof all)[number]): Amount => ({
    count: all.reduce((total, report) => total + report[which].count, 0),
    bytes: all.reduce((total, report) => total + report[which].bytes, 0),
  });
  const where = `s3://${options.bucket}/${options.prefix}`;
  if (!sum('kept').count && !sum('pending').count && !sum('removed').count)
    return printer.line(`${where} holds no store, or an empty one.`);
  const cell = ({ count, bytes }: Amount) => (count ? `${formatNumber(count)} (${formatSize(bytes)})` : '-');
  const row = (name: string, ...cells: string[]) => printer.line(tableRow(name, cells));
  printer.line(`${where}:`);
  row('', 'reachable', 'pending deletion', options.apply ? 'removed' : 'to be removed');
  for (const [kind, name] of KINDS) {
    const { kept, pending, removed } = kinds[kind];
    row(name, cell(kept), cell(pending), cell(removed));
  }
  row('total', cell(sum('kept')), cell(sum('pending')), cell(sum('removed')));
  const { run } = kinds;
  if (run.kept.count || run.removed.count) {
    const thinned = run.removed.count ? ', with objects that the kept runs no longer name' : '';
    printer.line(
      `${formatCount(runs.kept, 'run')} (${formatSize(run.kept.bytes)}) kept; ${options.apply ? 'removed' : 'to be removed'}: ${formatCount(runs.removed, 'run')}${thinned} (${formatSize(run.removed.bytes)}).`,
    );
  }
  const list = (names: string[]) => {
    const shown = options.verbose ? names : names.slice(0, MAX_NAMED);
    for (const name of shown) printer.line(`  ${sanitizeForTerminal(name)}`);
    if (shown.length < names.length) printer.line(`  and ${names.length - shown.length} more (--verbose lists them)`);
  };
  if (staleRefs.length) {
    printer.line(
      `${formatCount(staleRefs.length, 'ref')} (project/ref/tree/instance) not written for ${options.refsOlderThan}. They are stale, so nothing is kept for them:`,
    );
    list(staleRefs);
  }
  reportUnread(printer, pruned, list);
  if (unknown.count)
    printer.line(
      `Left alone: ${formatCount(unknown.count, 'object')} (${formatSize(unknown.bytes)}) of unknown kinds.`,
    );
  if (indexes.from) printer.line(`${formatCount(indexes.from, 'index object')} merged into ${indexes.to}.`);
  if (next !== null)
    printer.line(
      `Run prune again after ${new Date(next).toISOString().slice(0, 10)} to remove the objects that are pending deletion and still unreachable.`,
    );
  if (!options.apply) printer.line('Nothing was changed. To mark and remove objects: --apply');
}

/** Reports the objects that could not be read, and what prune keeps because of them. */
function reportUnread(
  printer: Printer,
  { damaged, unverified, unreadable }: Pruned,
  list: (names: string[]) => void,
): void {
  if (damaged.length) {
    printer.warn(
      `${formatCount(damaged.length, 'object')} can't be read, so the objects that they refer to are unknown:`,
    );
    list(damaged);
  }
  if (unreadable.length) {
    printer.warn(
      `S3 has ${formatCount(unreadable.length, 'object')} that may name any pack and manifest, and does not return ${unreadable.length === 1 ? 'it' : 'them'} (archived, or encrypted with another key), so all packs, manifests and runtimes are kept. Restore or delete ${unreadable.length === 1 ? 'it' : 'them'}:`,
    );
    list(unreadable);
  }
  if (unverified.length) {
    printer.warn(
      `${formatCount(unverified.length, 'run record')} can't be verified, so all objects of their runs are kept. Prune needs ssm:GetParameter on the secret of the store; a record that another program has written can't be verified at all:`,
    );
    list(unverified);
  }
}
