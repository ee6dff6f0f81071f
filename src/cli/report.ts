import { statSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Problem } from '../report/problem';
import { Printer } from '../report/printer';
import { sanitizeForTerminal } from '../report/terminal-text';
import { formatCount } from '../report/units';
import { compareRuns, type RunDifference } from '../run/compare/runs';
import { htmlReport } from '../run/report/html';
import { markdownReport } from '../run/report/markdown';
import { readReportedRun, type ReportedRun } from '../run/report/reported-run';
import { withRun, type WhereOptions } from './named-run';
import { reportOutcome } from './outcome';

export interface ReportOptions extends WhereOptions {
  html?: string;
  /** true: to standard output. */
  markdown?: string | true;
  base?: string;
  json?: boolean;
}

/** A page has a chart for each metric of any of them. */
const MAX_RUNS = 50;

/** Writes one or several runs as one page, or as Markdown. */
export function report(given: string[], options: ReportOptions, printer = new Printer(options)): Promise<void> {
  return reportOutcome(printer, async () => {
    const { html, markdown, base, ...where } = options;
    const ids = [...new Set(given)];
    assertUsable(ids, options);
    const runs: ReportedRun[] = [];
    let difference: RunDifference | null = null;
    const progress = printer.progress('Reading', ids.length, (done) => formatCount(done, 'run'));
    try {
      for (const id of ids) {
        await withRun(id, where, async (found) => {
          runs.push(await readReportedRun(found.store, found.keys, found.record));
          if (base !== undefined && id === ids[0])
            difference = await withRun(base, where, (of) => compareRuns(of, found, (text) => printer.warn(text)));
        });
        progress.update(runs.length);
      }
    } finally {
      progress.end();
    }
    const files = html === undefined ? [] : [write(html, htmlReport(runs, difference))];
    const text = markdown === undefined ? '' : markdownReport(runs, difference);
    if (typeof markdown === 'string') files.push(write(markdown, text));
    if (markdown === true) {
      // Nothing else, so that it can be redirected to a file.
      for (const line of text.trimEnd().split('\n')) printer.line(line);
      return { runs: ids, files, markdown: text };
    }
    for (const file of files) printer.line(`Written: ${sanitizeForTerminal(file)}`);
    return { runs: ids, files };
  });
}

/** @returns the file's absolute path. */
function write(path: string, content: string): string {
  const file = resolve(path);
  writeFileSync(file, content);
  return file;
}

/** Before the runs are read. */
function assertUsable(ids: string[], { html, markdown }: ReportOptions): void {
  if (html === undefined && markdown === undefined)
    throw new Problem('OPTION_MISSING', 'No file is given to write.', {
      next: 'Write --html=report.html, --markdown=report.md, or --markdown to print it.',
    });
  if (ids.length > MAX_RUNS)
    throw new Problem('OPTION_INVALID', `A report has at most ${MAX_RUNS} runs; ${ids.length} are named.`);
  assertFile('--html', html);
  if (markdown !== true) assertFile('--markdown', markdown);
}

function assertFile(option: string, path: string | undefined): void {
  if (path === undefined) return;
  const isDirectory = (at: string) => statSync(at, { throwIfNoEntry: false })?.isDirectory();
  const shown = sanitizeForTerminal(path);
  if (path === '')
    throw new Problem('OPTION_INVALID', `${option} is empty.`, { next: `Name a file: ${option}=report` });
  if (isDirectory(path)) throw new Problem('OPTION_INVALID', `${option}: ${shown} is a directory.`);
  if (!isDirectory(dirname(resolve(path))))
    throw new Problem('OPTION_INVALID', `${option}: there is no directory for ${shown}.`);
}
