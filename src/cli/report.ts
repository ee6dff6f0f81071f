import { statSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Problem } from '../report/problem';
import { Printer } from '../report/printer';
import { sanitizeForTerminal } from '../report/terminal-text';
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

/** Each has up to a hundred charts. */
const MAX_RUNS = 50;

/** Writes one or several runs as one page, or as Markdown. */
export function report(ids: string[], options: ReportOptions, printer = new Printer(options)): Promise<void> {
  return reportOutcome(printer, async () => {
    const { html, markdown, base, ...where } = options;
    assertUsable(ids, options);
    const runs: ReportedRun[] = [];
    let difference: RunDifference | null = null;
    for (const id of ids)
      await withRun(id, where, async (found) => {
        runs.push(await readReportedRun(found.store, found.keys, found.record));
        if (base !== undefined && id === ids[0])
          difference = await withRun(base, where, (before) => compareRuns(before, found, (text) => printer.warn(text)));
      });
    const files: string[] = [];
    const write = (path: string, content: string) => {
      const file = resolve(path);
      assertDirectory(dirname(file));
      writeFileSync(file, content);
      files.push(file);
      // Not among the lines of a Markdown.
      if (markdown !== true) printer.line(`Written: ${sanitizeForTerminal(file)}`);
    };
    if (html !== undefined) write(html, htmlReport(runs, difference));
    if (markdown === undefined) return { runs: ids, files };
    const text = markdownReport(runs, difference);
    if (markdown !== true) write(markdown, text);
    else for (const line of text.trimEnd().split('\n')) printer.line(line);
    return { runs: ids, files, markdown: text };
  });
}

function assertDirectory(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
  throw new Problem('OPTION_INVALID', `There is no directory ${sanitizeForTerminal(path)} to write the report to.`);
}

function assertUsable(ids: string[], { html, markdown }: ReportOptions): void {
  if (html === undefined && markdown === undefined)
    throw new Problem('OPTION_MISSING', 'It is not said what to write.', {
      next: 'Write --html=report.html, --markdown=report.md, or --markdown to print it.',
    });
  if (ids.length > MAX_RUNS)
    throw new Problem('OPTION_INVALID', `A report has at most ${MAX_RUNS} runs; ${ids.length} are named.`);
}
