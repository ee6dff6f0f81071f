import { split } from 'shlex';
import { Problem } from '../report/problem';

/** A command line's words, as a POSIX shell splits them; nothing is expanded. */
export function splitWords(line: string, what: string): string[] {
  try {
    return split(line);
  } catch (error) {
    throw new Problem('WORDS', `${what} can't be split into words: ${(error as Error).message}: ${line}`, {
      next: 'Close the quotation, or write the words as an array.',
    });
  }
}

/** As `splitWords`, for a command line that somebody may take for a shell's. */
export function splitCommand(line: string, what: string): string[] {
  const words = splitWords(line, what);
  const unquoted = line.replace(/\\[^]|'[^']*'|"(?:\\[^]|[^"\\])*"/g, '');
  const operator = /&&|\|\||[|;<>&`]|\$[({A-Za-z_]/.exec(unquoted)?.[0];
  if (operator) {
    throw new Problem('WORDS', `${what} is run without a shell, which would read ${operator} in: ${line}`, {
      next: `Write it as: bash -c '${line.replace(/'/g, `'\\''`)}'`,
    });
  }
  if (words.length === 0) throw new Problem('WORDS', `${what} is empty.`);
  return words;
}
