import { formatSize } from '../../report/units';
import { describeDifference } from '../compare/describe';
import type { RunDifference } from '../compare/runs';
import { shortNumber } from './chart';
import { codeSpan } from './escape-markdown';
import { factRows, metricNames, type ReportedRun } from './reported-run';

/** So many metrics and artifacts are listed: a comment of a pull request has a limit. */
const MAX_ROWS = 40;
const MAX_DIFFERENCE_LINES = 200;

/** The runs in Markdown, for a comment. `difference`: of the first one from a base, where there is one. */
export function markdownReport(runs: readonly ReportedRun[], difference: RunDifference | null): string {
  const ids = runs.map(({ record }) => codeSpan(record.id));
  const sections = [
    `## Training ${ids.join(', ')}`,
    table(
      ['', ...ids],
      factRows(runs).map(([title, values]) => [title, ...values.map((value = '') => codeSpan(value))]),
    ),
  ];
  const names = metricNames(runs);
  const troubles = runs.flatMap(({ record, metrics: { trouble } }) =>
    trouble ? [`${codeSpan(record.id)}: ${codeSpan(trouble)}`] : [],
  );
  if (names.length || troubles.length) sections.push('### Metrics', ...troubles);
  if (names.length)
    sections.push(
      table(
        ['', ...ids],
        names
          .slice(0, MAX_ROWS)
          .map((name) => [codeSpan(name), ...runs.map(({ metrics }) => lastOf(metrics.training.get(name)?.last))]),
      ),
      ...more(names.length, 'metrics'),
    );
  for (const { record, artifacts } of runs) {
    if (!artifacts) continue;
    sections.push(
      `### Artifacts of ${codeSpan(record.id)}`,
      artifacts.trouble
        ? codeSpan(artifacts.trouble)
        : table(
            ['', 'Size'],
            artifacts.files.slice(0, MAX_ROWS).map(({ path, size }) => [codeSpan(path), formatSize(size)]),
          ),
      ...more(artifacts.files.length, 'files'),
    );
  }
  if (difference) sections.push(`### Difference from ${codeSpan(difference.before)}`, codeBlock(difference));
  return `${sections.join('\n\n')}\n`;
}

function lastOf(value: number | undefined): string {
  return value === undefined ? '–' : shortNumber(value);
}

function more(count: number, what: string): string[] {
  return count > MAX_ROWS ? [`and ${count - MAX_ROWS} more ${what}`] : [];
}

function table(head: string[], rows: string[][]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** Its fence is longer than any in it. */
function codeBlock(difference: RunDifference): string {
  const all = describeDifference(difference);
  const lines = all.slice(0, MAX_DIFFERENCE_LINES);
  if (all.length > lines.length) lines.push(`and ${all.length - lines.length} more lines`);
  const longest = Math.max(2, ...[...lines.join('\n').matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}diff\n${lines.join('\n')}\n${fence}`;
}
