import { basename, join, posix } from 'node:path';
import { readText } from '../config/syntax/read-text';
import { Problem } from '../report/problem';
import { sanitizeForTerminal } from '../report/terminal-text';

const SHELL = /^(ba|da|z|k|a)?sh$/;

/**
 * Refuses a command whose script has Windows line endings: the kernel looks for an interpreter whose name ends in a
 * carriage return, and a shell takes carriage returns for parts of words.
 * @param sent workspace-relative paths of the files that are sent.
 * @throws Problem `SCRIPT_LINE_ENDS`
 */
export function assertUnixLineEndings(
  workspaceRoot: string,
  projectRoot: string,
  command: readonly string[],
  sent: ReadonlySet<string>,
): void {
  const [program, ...rest] = command;
  if (program === undefined) return;
  const isShell = SHELL.test(basename(program));
  const script = isShell ? rest.find((word) => !word.startsWith('-')) : program;
  // What stands after -c is no file.
  if (script === undefined || (isShell && rest.some((word) => /^-[a-z]*c$/.test(word)))) return;
  const path = posix.join(projectRoot, script);
  if (!sent.has(path)) return;
  const text = readText(join(workspaceRoot, path));
  const isBroken = isShell ? text.includes('\r\n') : /^#![^\n]*\r\n/.test(text);
  if (!isBroken) return;
  throw new Problem(
    'SCRIPT_LINE_ENDS',
    `${sanitizeForTerminal(path)} has Windows line endings (CR LF): it can't be run on Linux.`,
    {
      next: `Convert it: sed -i 's/\\r$//' ${path}   To keep it so in git, add to .gitattributes: *.sh text eol=lf`,
    },
  );
}
