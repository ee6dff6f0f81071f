import type { ExecutorContext } from '@nx/devkit';
import yargsParser from 'yargs-parser';
import { nxCommandLine } from './invocation';

type Options = Record<string, unknown>;

/**
 * The options of a task as they were typed, before Nx made numbers of what looks like one (`0x1f` → 31) and removed
 * quotes: its command line is parsed again as Nx parses it, without that.
 */
export function typedOptions(context: ExecutorContext): Options {
  const words = wordsOfTask(context) ?? nxCommandLine() ?? [];
  return parseText(words);
}

/** What Nx takes for options among words, with each value as it was typed. */
export function parseText(words: readonly string[]): Options {
  const parsed = yargsParser(words.map(quoted), {
    configuration: {
      'camel-case-expansion': false,
      'dot-notation': true,
      'parse-numbers': false,
      'parse-positional-numbers': false,
    },
  });
  // As Nx names them: `--remote-root` is `remoteRoot`.
  return Object.fromEntries(
    Object.entries(parsed).map(([key, value]) => [
      key.replace(/(?<=.)-+(.)/g, (_, letter: string) => letter.toUpperCase()),
      value,
    ]),
  );
}

/** `--name=value` with a pair of quotes around the value: the parser removes one. */
function quoted(word: string): string {
  return word.replace(/^(--[^=]+=)([^]*)$/, '$1"$2"');
}

/** The words that Nx parsed the task's options from; null where it doesn't say. */
export function wordsOfTask({ taskGraph, projectName, targetName }: ExecutorContext): string[] | null {
  const tasks = Object.values(taskGraph?.tasks ?? {});
  const task = tasks.find(({ target }) => target.project === projectName && target.target === targetName);
  const words: unknown = task?.overrides?.__overrides_unparsed__;
  return Array.isArray(words) && words.every((word) => typeof word === 'string') ? words : null;
}

/**
 * An option's value as it was typed on the command line, which takes the place of any other: text instead of what the
 * parser made of it (a number, a sum of numbers that were given one after another, a text without its quotes). A value
 * that was not typed, or that means yes or no, stays.
 */
export function asTyped(value: unknown, typed: unknown): unknown {
  if (typed === undefined || typeof value === 'boolean') return value;
  // Nx makes a list of a text where its schema has one.
  if (Array.isArray(value) && typeof typed === 'string') return typed.replace(/^(['"])([^]*)\1$/, '$2').split(',');
  return typed;
}
