import { createHash } from 'node:crypto';
import { printablePath, sanitizeForTerminal } from '../../report/terminal-text';
import { formatDuration, formatSize } from '../../report/units';
import { describeDifference } from '../compare/describe';
import type { RunDifference } from '../compare/runs';
import type { RunRecord } from '../record/record';
import { COLORS, lineChart, shortNumber, type Line, type Mark } from './chart';
import { escapeHtml } from './escape-html';
import { STYLE } from './html-style';
import { factRows, metricNames, type ReportedRun } from './reported-run';
import type { Series } from '../metrics/series';

const MAX_FILES = 500;
/** Tells a report from another page. */
export const GENERATOR = '<meta name="generator" content="nx-ec2 runs report"/>';

/**
 * The runs as one page without scripts that loads nothing, whatever the runs' texts are. `difference`: of the first one
 * from a base, where there is one.
 */
export function htmlReport(runs: readonly ReportedRun[], difference: RunDifference | null): string {
  const title = `Training ${runs.map(({ record }) => record.id).join(', ')}`;
  const style = createHash('sha256').update(STYLE).digest('base64');
  const policy = `default-src 'none'; style-src 'sha256-${style}'; base-uri 'none'; form-action 'none'`;
  const body = [
    `<h1>${escapeHtml(title)}</h1>`,
    factsTable(runs),
    ...section('Metrics', [
      ...troublesOf(runs),
      ...chartsOf(runs, metricNames(runs), ({ metrics }) => metrics.training),
    ]),
    ...section(
      'Instance',
      chartsOf(runs, machineNames(runs), ({ metrics }) => metrics.machine),
    ),
    ...runs.flatMap(artifactsOf),
    ...(difference
      ? section(`Difference from ${difference.before}`, [
          `<pre>${escapeHtml(describeDifference(difference).join('\n'))}</pre>`,
        ])
      : []),
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"/>${GENERATOR}<meta http-equiv="Content-Security-Policy" content="${escapeHtml(policy)}"/>
<meta name="viewport" content="width=device-width"/><meta name="color-scheme" content="light dark"/>
<title>${escapeHtml(title)}</title><style>${STYLE}</style></head>
<body><main>
${body.join('\n')}
</main></body></html>
`;
}

function section(title: string, content: string[]): string[] {
  return content.length ? [`<h2>${escapeHtml(title)}</h2>`, ...content] : [];
}

function factsTable(runs: readonly ReportedRun[]): string {
  const head = runs.map(({ record }, n) => `<th scope="col">${key(n, runs.length)}${escapeHtml(record.id)}</th>`);
  const rows = factRows(runs).map(([title, values]) => {
    const cells = values.map((value = '–') => `<td>${escapeHtml(value)}</td>`);
    return `<tr><th scope="row">${escapeHtml(title)}</th>${cells.join('')}</tr>`;
  });
  return `<div class="wide"><table><thead><tr><td></td>${head.join('')}</tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}

/** The color of a run in the charts, where there are several. */
function key(n: number, count: number): string {
  return count > 1 ? `<svg class="key" viewBox="0 0 12 12"><path class="line c${n % COLORS}" d="M0 6H12"/></svg> ` : '';
}

function troublesOf(runs: readonly ReportedRun[]): string[] {
  return runs.flatMap(({ record, metrics }) =>
    metrics.trouble ? [`<p>${escapeHtml(`${record.id}: ${metrics.trouble}.`)}</p>`] : [],
  );
}

function machineNames(runs: readonly ReportedRun[]): string[] {
  return [...new Set(runs.flatMap(({ metrics }) => [...metrics.machine.keys()]))];
}

function chartsOf(
  runs: readonly ReportedRun[],
  names: readonly string[],
  of: (run: ReportedRun) => Map<string, Series>,
): string[] {
  // Of several runs, marks would not say whose they are.
  const marks = runs.length === 1 ? marksOf(runs[0].record) : [];
  const figures = names.map((name) => {
    const found = runs.flatMap((run, color) => {
      const series = of(run).get(name);
      return series ? [{ run, color, series }] : [];
    });
    const lines = found.map(({ run: { record }, color, series }): Line => ({
      label: record.id,
      color,
      start: record.startedAt ?? record.createdAt,
      points: series.points,
    }));
    const values = found.map(
      ({ color, series }) =>
        `${key(color, runs.length)}last ${shortNumber(series.last)}, min ${shortNumber(series.min)}, max ${shortNumber(series.max)}`,
    );
    return `<figure><figcaption>${escapeHtml(name)}</figcaption>${lineChart(name, lines, marks)}<p>${values.join('<br/>')}</p></figure>`;
  });
  if (figures.length === 0) return [];
  const explained = [
    ...(marks.some(({ kind }) => kind === 'attempt') ? ['dashed: another attempt began'] : []),
    ...(marks.some(({ kind }) => kind === 'checkpoint') ? ['dotted: a checkpoint was saved'] : []),
  ];
  return [
    ...(explained.length > 0 ? [`<p>Vertical lines, ${explained.join('; ')}.</p>`] : []),
    `<div class="charts">${figures.join('\n')}</div>`,
  ];
}

/** Where attempts began and checkpoints were saved, from the start on. */
function marksOf({ startedAt, createdAt, attempts, checkpoints }: RunRecord): Mark[] {
  const start = startedAt ?? createdAt;
  return [
    ...attempts
      .slice(1)
      .flatMap(({ n, startedAt: at, instance }): Mark[] =>
        at === null ? [] : [{ at: at - start, kind: 'attempt', label: `attempt ${n}, on ${instance}` }],
      ),
    ...checkpoints.map(({ n, at, unit }): Mark => ({
      at: at - start,
      kind: 'checkpoint',
      label: `checkpoint ${n}, ${sanitizeForTerminal(unit)}, after ${formatDuration(at - start)}`,
    })),
  ];
}

function artifactsOf({ record, artifacts }: ReportedRun): string[] {
  if (!artifacts) return [];
  const rows = artifacts.files
    .slice(0, MAX_FILES)
    .map(
      ({ path, size }) =>
        `<tr><td>${escapeHtml(printablePath(path))}</td><td>${escapeHtml(formatSize(size))}</td></tr>`,
    );
  const rest = artifacts.files.length - rows.length;
  return section(`Artifacts of ${record.id}`, [
    ...(artifacts.trouble ? [`<p>${escapeHtml(sanitizeForTerminal(artifacts.trouble))}</p>`] : []),
    `<div class="wide"><table><tbody>${rows.join('')}</tbody></table></div>`,
    ...(rest > 0 ? [`<p>and ${rest} more</p>`] : []),
  ]);
}
