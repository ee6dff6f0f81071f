import { Problem } from '../../report/problem';

/** One piece of a word: escaped, in single quotes, in double quotes, plain. */
const PIECE = /\\([^])|'([^']*)'|"((?:\\[^]|[^"\\])*)"|([^ \t\r\n\\'"]+)/y;

/**
 * A command line's words, as a POSIX shell splits them; nothing is expanded. Hand-written, since each of the packages
 * for it (shlex, shellwords, shellwords-ts) loses backslashes or quotes of some words.
 * @throws Problem where a quotation or an escape is not closed.
 */
export function splitWords(line: string, what: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let at = 0;
  while (at < line.length) {
    PIECE.lastIndex = at;
    const piece = PIECE.exec(line);
    if (piece) {
      const [whole, escaped, single, double, plain] = piece;
      const text = escaped ?? single ?? double?.replace(/\\(["\\$`\n])/g, '$1') ?? plain;
      word = (word ?? '') + text;
      at += whole.length;
    } else if (/[ \t\r\n]/.test(line[at])) {
      if (word !== undefined) words.push(word);
      word = undefined;
      at += 1;
    } else {
      const open = line[at] === '\\' ? 'it ends in a backslash' : `the quote ${line.slice(at)} is not closed`;
      throw new Problem('COMMAND_LINE_INVALID', `${what} can't be split into words, ${open}: ${line}`, {
        next: 'Close the quote, or write the words as an array.',
        settings: [what],
      });
    }
  }
  return word === undefined ? words : [...words, word];
}

/** As `splitWords`, for a command line that somebody may take for a shell's. */
export function splitCommand(line: string, what: string): string[] {
  const words = splitWords(line, what);
  const unquoted = line.replace(/\\[^]|'[^']*'|"(?:\\[^]|[^"\\])*"/g, '');
  const operator = /&&|\|\||[|;<>&`]|\$[({A-Za-z_]/.exec(unquoted)?.[0];
  if (operator) {
    throw new Problem('COMMAND_LINE_INVALID', `${what} runs without a shell, but ${operator} needs one: ${line}`, {
      next: `To run it in a shell, write: bash -c '${line.replace(/'/g, `'\\''`)}'`,
      settings: [what],
    });
  }
  if (words.length === 0) throw new Problem('COMMAND_LINE_INVALID', `${what} is empty.`, { settings: [what] });
  return words;
}

/** A word as `splitWords` reads it, in quotes where it needs them. */
export function quoteWord(word: string): string {
  return /^[\w./=@:-]+$/.test(word) ? word : `'${word.replace(/'/g, `'\\''`)}'`;
}
