import { closeSync, mkdirSync, openSync, readSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { OUTPUT_DIRECTORY } from '../../config/settings/outputs';
import type { RunContext } from '../../context/types';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { trackedFiles } from '../../workspace/git/tracked';
import { lookUp } from '../../workspace/look-up';
import { foldAll } from '../../workspace/name-folding';
import { assertNoSymlinkInPath } from '../../workspace/no-symlinks';
import { makeScratch } from '../../workspace/scratch';
import type { RunRecord } from '../record/record';
import { GENERATOR, htmlReport } from './html';
import { readReportedRun, type ReportedRun } from './reported-run';

/** Where the report of a run is, relative to the project. */
export const REPORT = `${OUTPUT_DIRECTORY}/report.html`;
/** The mark of a report is in its first bytes. */
const HEAD_BYTES = 1024;

type Context = Pick<RunContext, 'store' | 'keys' | 'printer' | 'workspaceRoot'>;

/**
 * Writes the page of `runs report --html` about a run into the artifacts below a directory. Another file than a report
 * is never replaced. Never fails for the report: a message says why there is none.
 * @returns its path, null where it was not written.
 */
export async function writeReport(
  { store, keys, printer, workspaceRoot }: Context,
  record: RunRecord,
  root: string,
  signal: AbortSignal,
): Promise<string | null> {
  try {
    const run = await readReportedRun(store, keys, record);
    signal.throwIfAborted();
    const why = obstacle(root, run);
    if (why === null) {
      place(root, htmlReport([run], null));
      printer.line(`Report: ${sanitizeForTerminal(relative(workspaceRoot, join(root, REPORT)))}`);
      return REPORT;
    }
    printer.warn(`${REPORT} was not written: ${why}. To write it elsewhere: nx-ec2 runs report ${record.id} --html=…`);
  } catch (error) {
    if (signal.aborted) throw error;
    printer.warn(`${REPORT} was not written: ${sanitizeForTerminal((error as Error).message)}`);
  }
  return null;
}

/** Why the report can't be written; null where it can. */
function obstacle(root: string, { artifacts }: ReportedRun): string | null {
  const own = foldAll(REPORT);
  const isInTheWay = ({ path }: { path: string }) => foldAll(path) === own || foldAll(path).startsWith(`${own}/`);
  if (artifacts?.files.some(isInTheWay)) return 'the training wrote a file of this name';
  assertNoSymlinkInPath(root, REPORT);
  const there = lookUp(join(root, REPORT));
  if (there && !there.isFile()) return 'something else is at this path';
  if (trackedFiles(join(root, OUTPUT_DIRECTORY)).has('report.html')) return 'git tracks the file at this path';
  return there && !isReport(join(root, REPORT)) ? 'another file is at this path' : null;
}

function isReport(path: string): boolean {
  const file = openSync(path, 'r');
  try {
    const head = Buffer.alloc(HEAD_BYTES);
    return head.toString('utf8', 0, readSync(file, head)).includes(GENERATOR);
  } finally {
    closeSync(file);
  }
}

/** As a whole: whoever reads the file meanwhile sees the report before. */
function place(root: string, content: string): void {
  mkdirSync(dirname(join(root, REPORT)), { recursive: true });
  const scratch = makeScratch(root, OUTPUT_DIRECTORY);
  try {
    writeFileSync(join(scratch, 'report.html'), content);
    renameSync(join(scratch, 'report.html'), join(root, REPORT));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
