import { sanitizeForTerminal, printablePath } from '../../report/terminal-text';
import { formatDuration, formatSize } from '../../report/units';
import type { Entry } from '../../snapshot/entry';
import { table } from '../../report/table';
import type { CodeDifference } from './code';
import type { RunDifference } from './runs';
import type { Change } from './values';

/** So many of a kind are shown. */
const MAX_SHOWN = 40;
/** A value is cut to so many characters. */
const MAX_VALUE_LENGTH = 120;

/** What differs between two runs as lines of text; of what does not, nothing is said. */
export function describeDifference(found: RunDifference): string[] {
  const { code, artifacts } = found;
  const sections: [string, string[]][] = [
    ['code', codeLines(code)],
    ['packages', code.packages.flatMap(packageLines)],
    ['git', changeLines(found.git)],
    ['configuration', changeLines(found.configuration)],
    ['data', changeLines(found.data)],
    ['course', changeLines(found.course)],
    ['metrics', metricLines(found)],
    [
      'artifacts',
      [
        ...(artifacts.trouble ? [sanitizeForTerminal(artifacts.trouble)] : []),
        ...some(artifacts.added, ({ path, after }) => `+ ${printablePath(path)}  ${formatSize(after!.size)}`),
        ...some(artifacts.removed, ({ path, before }) => `- ${printablePath(path)}  ${formatSize(before!.size)}`),
        ...some(
          artifacts.changed,
          ({ path, before, after }) =>
            `~ ${printablePath(path)}  ${formatSize(before!.size)} → ${formatSize(after!.size)}`,
        ),
      ],
    ],
  ];
  const told = sections.filter(([, lines]) => lines.length);
  const same = found.metrics.every(({ before, after }) => before === after);
  if (told.every(([name]) => name === 'metrics' && same)) return [`${found.before} and ${found.after} do not differ.`];
  const diffs = code.changed.flatMap(({ path, diff }) =>
    diff
      ? [
          '',
          `--- ${found.before} ${sanitizeForTerminal(path)}`,
          `+++ ${found.after} ${sanitizeForTerminal(path)}`,
          ...diff.replace(/\n$/, '').split('\n').map(sanitizeForTerminal),
        ]
      : [],
  );
  return [
    `${found.before} → ${found.after}`,
    ...told.flatMap(([name, lines]) => ['', name, ...lines.map((line) => sanitizeForTerminal(`  ${line}`))]),
    ...diffs,
  ];
}

function codeLines(code: CodeDifference): string[] {
  if (code.same) return [];
  if (code.trouble) return code.trouble.split('\n').map(sanitizeForTerminal);
  const size = (entry: Entry) =>
    entry.kind === 'file'
      ? formatSize(entry.size)
      : entry.kind === 'link'
        ? `link to ${printablePath(entry.target)}`
        : 'empty directory';
  const bits = ({ before, after }: { before: Entry; after: Entry }) =>
    before.kind === 'file' && after.kind === 'file' && before.executable !== after.executable
      ? `, ${after.executable ? 'now' : 'no longer'} executable`
      : '';
  const why = (reason: string | null) => (reason && !/packages|same content/.test(reason) ? `, ${reason}` : '');
  return [
    ...some(code.added, (entry) => `+ ${printablePath(entry.path)}  ${size(entry)}`),
    ...some(code.removed, (entry) => `- ${printablePath(entry.path)}  ${size(entry)}`),
    ...some(
      code.changed,
      (each) =>
        `~ ${printablePath(each.path)}  ${size(each.before)} → ${size(each.after)}${bits(each)}${why(each.why)}`,
    ),
    ...(code.lockFiles.length
      ? [`lock files that changed: ${code.lockFiles.map(sanitizeForTerminal).join(', ')}`]
      : []),
  ];
}

function packageLines({ path, added, removed, changed }: CodeDifference['packages'][number]): string[] {
  const lines = [
    ...some(added, ({ name, version }) => `+ ${sanitizeForTerminal(name)} ${sanitizeForTerminal(version)}`),
    ...some(removed, ({ name, version }) => `- ${sanitizeForTerminal(name)} ${sanitizeForTerminal(version)}`),
    ...some(
      changed,
      ({ name, before, after }) =>
        `~ ${sanitizeForTerminal(name)} ${sanitizeForTerminal(before)} → ${sanitizeForTerminal(after)}`,
    ),
  ];
  return [`${sanitizeForTerminal(path)}:${lines.length ? '' : ' the same packages'}`, ...lines];
}

function changeLines(changes: Change[]): string[] {
  return some(
    changes,
    ({ path, before, after }) => `${sanitizeForTerminal(path)}  ${value(path, before)} → ${value(path, after)}`,
  );
}

function value(path: string, of: unknown): string {
  if (of === undefined || of === null) return '–';
  if (path === 'duration') return formatDuration(of as number);
  const text = typeof of === 'string' ? of : JSON.stringify(of);
  const clean = sanitizeForTerminal(text);
  return clean.length > MAX_VALUE_LENGTH ? `${clean.slice(0, MAX_VALUE_LENGTH)}…` : clean;
}

function metricLines({ metrics, before, after }: RunDifference): string[] {
  const number = (of: number | null) => (of === null ? '–' : String(Number(of.toPrecision(6))));
  const signed = (of: number | null) => (of === null ? '' : `${of > 0 ? '+' : ''}${number(of)}`);
  if (!metrics.length) return [];
  const rows = metrics.map((each) => [each.name, number(each.before), number(each.after), signed(each.difference)]);
  return table([['', before, after, 'DIFFERENCE'], ...rows]).split('\n');
}

function some<T>(items: readonly T[], line: (item: T) => string): string[] {
  const lines = items.slice(0, MAX_SHOWN).map(line);
  return items.length > MAX_SHOWN ? [...lines, `and ${items.length - MAX_SHOWN} more (--json lists all)`] : lines;
}
