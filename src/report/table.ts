import { sanitizeForTerminal } from './terminal-text';

/** Columns as wide as their widest cell. */
export function table(rows: string[][]): string {
  const clean = rows.map((row) => row.map(sanitizeForTerminal));
  const widths = clean[0].map((_, column) => Math.max(...clean.map((row) => row[column].length)));
  return clean
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
