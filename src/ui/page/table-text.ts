export interface TextRows {
  rows: string[][];
  /** There are more rows. */
  isCut: boolean;
}

/** The first rows of a table that is written with separators, as RFC 4180 describes; empty lines are no rows. */
export function parseTable(text: string, separator: string, limit: number): TextRows {
  const rows: string[][] = [];
  // A field, quoted or not, and what ends it.
  const field = new RegExp(
    `(?:"((?:[^"]|"")*)"|([^"${separator}\r\n][^${separator}\r\n]*)?)(${separator}|\r\n|\n|\r|$)`,
    'y',
  );
  let row: string[] = [];
  while (field.lastIndex < text.length) {
    const found = field.exec(text);
    // A quote that is never closed, or text after one.
    if (!found) return { rows, isCut: true };
    const [, quoted, plain = '', end] = found;
    row.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === separator) continue;
    if (row.length > 1 || row[0] !== '') {
      if (rows.length === limit) return { rows, isCut: true };
      rows.push(row);
    }
    row = [];
  }
  if (row.length && rows.length < limit) rows.push([...row, '']);
  return { rows, isCut: false };
}
