import { posix } from 'node:path';

/** Whether a command may run Python: `maybe` is a program of which nothing is known. */
export type CommandLanguage = 'python' | 'maybe' | 'other';

/** Programs that run code of other languages. */
const OTHERS = new Set([
  ...['node', 'nodejs', 'npm', 'npx', 'pnpm', 'pnpx', 'yarn', 'bun', 'bunx', 'deno', 'tsx', 'ts-node'],
  ...['rscript', 'r', 'julia', 'octave', 'matlab', 'java', 'scala', 'kotlin', 'dotnet', 'mono', 'swift'],
  ...['go', 'cargo', 'ruby', 'bundle', 'perl', 'php', 'lua', 'luajit', 'elixir', 'mix', 'runghc', 'stack', 'cabal'],
]);
/** How the first line of a program that may run Python begins: with Python, a tool of it, or a shell. */
const PYTHON_SHEBANG = /^#!.*\b(?:python[\d.]*|uv|(?:ba|da|z|k)?sh)\b/;

/**
 * The language of a command, by its program. A program without a slash that is not known to run another language counts
 * as Python: it may be a script of a package (`torchrun`). One of the project's own files counts by its first line.
 * @param read the text of a workspace-relative file; '' where there is none.
 */
export function commandLanguage(
  command: readonly string[],
  projectRoot: string,
  read: (path: string) => string,
): CommandLanguage {
  const [program = ''] = command;
  const name = posix.basename(program).toLowerCase();
  if (OTHERS.has(name)) return 'other';
  if (!program.includes('/') || /^python[\d.]*$/.test(name) || name.endsWith('.py')) return 'python';
  const path = posix.join(projectRoot, program);
  if (posix.isAbsolute(program) || path.startsWith('../')) return 'maybe';
  const [first] = read(path).split('\n', 1);
  if (PYTHON_SHEBANG.test(first)) return 'python';
  const interpreter = /^#!\s*(?:\S*\/env\s+(?:-S\s+)?)?(\S+)/.exec(first)?.[1] ?? '';
  return OTHERS.has(posix.basename(interpreter).toLowerCase()) ? 'other' : 'maybe';
}
