import { sanitize } from '../../report/terminal-text';

/**
 * A text in Markdown that nothing of it is read as: a code span, which also holds no mention, link or reference. A pipe
 * would end the cell of a table; after a backslash some programs read it as one even if it is escaped, so backslashes before
 * it are left out.
 */
export function codeSpan(text: string): string {
  const line = sanitize(text, Infinity).replace(/\s+/g, ' ').trim();
  if (line === '') return '–';
  const longest = Math.max(0, ...[...line.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  const pad = longest > 0 ? ' ' : '';
  return `${fence}${pad}${line.replace(/\\+(?=\|)/g, '').replaceAll('|', '\\|')}${pad}${fence}`;
}
