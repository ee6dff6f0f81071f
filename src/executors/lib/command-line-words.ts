import type { ExecutorContext } from '@nx/devkit';
import { nearest } from '../../config/schema/explain-issue';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { targetCommand } from '../../workspace/invocation';
import { parseText, wordsOfTask } from '../../workspace/typed-options';
import { isRunId } from '../../schema/ids';
import { optionNames } from '../../config/schema/target-options';
import type { TargetName } from '../../config/schema/executor-options';

/** The option that holds the words for a program of the user's, by target. */
const WORDS_OPTION: Partial<Record<TargetName, 'args' | 'command'>> = {
  'remote-train': 'args',
  'remote-submit': 'args',
  'remote-exec': 'command',
};

/**
 * Refuses words of the command line that are no options of the target, with the form that works: Nx passes a stray word
 * on, and nothing would ever read it.
 * @throws Problem `COMMAND_LINE_INVALID`
 */
export function assertNoForeignWords(name: TargetName, context: ExecutorContext, words = wordsOfTask(context)): void {
  const known = optionNames(name);
  const found = foreignWords(words ?? [], known);
  const option = WORDS_OPTION[name];
  // Where another option takes no words, only a stray word is refused here: the configuration names unknown options.
  const foreign = option ? found : found.filter((word) => !word.startsWith('-'));
  if (!foreign.length) return;
  const [first] = foreign;
  const misspelled = first.startsWith('-') ? nearest(nameOfOption(first), known) : undefined;
  if (misspelled !== undefined) return;
  const what = first.startsWith('-')
    ? `${sanitizeForTerminal(first)} is not an option of ${name}.`
    : `${name} takes only options, and ${sanitizeForTerminal(first)} is not one.`;
  const command = targetCommand(context, name);
  const next = option
    ? `Write: ${command} ${optionWithWords(option, foreign)}`
    : known.includes('run') && isRunId(first)
      ? `Write: ${command} --run=${first}`
      : `To list its options: ${command} --help`;
  throw new Problem('COMMAND_LINE_INVALID', what, { next });
}

/**
 * Refuses words after `--`, with the form that works: Nx takes some of them for its own and drops them.
 * @param args the command line of nx.
 */
export function assertNoPassThrough(name: TargetName, args: readonly string[] | null): void {
  const at = args?.indexOf('--') ?? -1;
  if (!args || at === -1 || at === args.length - 1) return;
  const option = WORDS_OPTION[name];
  throw new Problem(
    'PASSTHROUGH_ARGS',
    `Arguments after -- are not passed on completely: Nx takes some of them for itself.`,
    {
      next: option
        ? `Write: ${optionWithWords(option, args.slice(at + 1))}`
        : `${name} takes no such arguments. Write its options before the --.`,
    },
  );
}

/** Finds the words that no known option takes: stray words, and other options with their values. */
export function foreignWords(words: readonly string[], known: readonly string[]): string[] {
  const foreign: string[] = [];
  for (let at = 0; at < words.length;) {
    const word = words[at];
    const name = nameOfOption(word);
    const next = words[at + 1];
    const takesNext = name !== '' && next !== undefined && strayWords([word, next]).length === 0 && !isOption(next);
    const taken = words.slice(at, at + (takesNext ? 2 : 1));
    if (!known.includes(name)) foreign.push(...taken);
    at += taken.length;
  }
  return foreign;
}

function strayWords(words: readonly string[]): string[] {
  return (parseText(words)._ ?? []) as string[];
}

function isOption(word: string): boolean {
  return nameOfOption(word) !== '';
}

/** The name of the option that a word sets, as Nx names it; '' where it sets none. */
function nameOfOption(word: string): string {
  return Object.keys(parseText([word])).find((key) => key !== '_') ?? '';
}

/** An option whose value is words, as a shell takes it and as `splitWords` splits it. */
function optionWithWords(option: string, words: readonly string[]): string {
  const line = words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : inQuotes(word))).join(' ');
  return `--${option}=${/["$`\\!]/.test(line) ? inQuotes(line) : `"${line}"`}`;
}

function inQuotes(text: string): string {
  return `'${text.replace(/'/g, `'\\''`)}'`;
}
