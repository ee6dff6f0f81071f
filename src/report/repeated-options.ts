import { AsyncLocalStorage } from 'node:async_hooks';

const current = new AsyncLocalStorage<readonly string[]>();

/**
 * Runs a command whose messages repeat these options in the commands that they name, which then act on what it acts on.
 * @param options as words of a command line: `--instance.pool=team`.
 */
export function repeatOptions<T>(options: readonly string[], command: () => T): T {
  return current.run(options, command);
}

/** The options that a command in a message repeats, but for those that it gives itself. */
export function repeatedOptions(given: readonly string[] = []): string[] {
  const names = given.map((option) => /^--([^=]+)/.exec(option)?.[1]);
  return (current.getStore() ?? []).filter((option) => !names.includes(/^--([^=.]+)/.exec(option)![1]));
}

/** A function that is called from elsewhere, for example by a signal, and whose messages repeat the options of here. */
export const repeatingHere = AsyncLocalStorage.bind;
