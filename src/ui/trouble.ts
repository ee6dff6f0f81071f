import { fileProblem } from '../report/file-problem';
import { Problem } from '../report/problem';
import { printableLines } from '../report/terminal-text';
import type { Trouble } from './api';

/** What failed, in the words that a command would print. */
export function troubleOf(error: unknown): Trouble {
  const problem = error instanceof Problem ? error : fileProblem(error);
  const { code = 'INTERNAL', message = String(error) } = problem ?? {};
  return { code, message: printableLines(message) };
}
