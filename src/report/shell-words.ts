import { repeatedOptions } from './repeated-options';
import { sanitize } from './terminal-text';

/** Characters that no shell acts on, wherever they stand in a word. */
const PLAIN = /^[\w@%+=:,./-]+$/;
/** Bytes that a shell takes as they are inside of `$'…'`, and that no terminal and no CI service acts on. */
const SEEN = /[ !"$-&(-9;-[\]-~]/;

/**
 * Writes a text as one word of a command line that somebody is to type: a POSIX shell runs nothing of it, whoever wrote
 * the text, and takes it for the same text. It is safe to print as well, and printing it changes nothing: characters that
 * a terminal or a CI service would act on, or that nobody sees, are written as `$'\x1b'`, which bash, zsh and ksh know.
 */
export function shellWord(text: string): string {
  // No argument can have one.
  const word = text.replaceAll('\0', '');
  const quoted = PLAIN.test(word) ? word : `'${word.replace(/'/g, `'\\''`)}'`;
  return sanitize(quoted, Infinity) === quoted ? quoted : `$'${[...Buffer.from(word)].map(escaped).join('')}'`;
}

/** Joins words to a command line that somebody is to type. */
export function commandLine(...words: readonly string[]): string {
  return words.map(shellWord).join(' ');
}

/**
 * The command line that runs a target of a project, on what the command acts on that prints it: see `repeatOptions`.
 * @param options e.g. `--run=…`
 */
export function nxRun(project: string, target: string, ...options: readonly string[]): string {
  const words = [...repeatedOptions(options), ...options].map((option) => ` ${shellWord(option)}`);
  return `nx run ${shellWord(project)}:${shellWord(target)}${words.join('')}`;
}

/** The command line that lists what runs in the account and region of the command that prints it. */
export function instancesList(): string {
  return commandLine(
    'npx',
    'nx-ec2',
    'instances',
    'list',
    ...repeatedOptions().filter((option) => /^--(region|profile)=/.test(option)),
  );
}

function escaped(byte: number): string {
  const char = String.fromCharCode(byte);
  return SEEN.test(char) ? char : `\\x${byte.toString(16).padStart(2, '0')}`;
}
