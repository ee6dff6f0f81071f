import type { Raw } from './merge';
import { Problem } from '../../report/problem';
import type { z } from 'zod';
import { configurationSchema, trainShape } from './schema';

export type TargetName =
  | 'remote-sync'
  | 'remote-watch'
  | 'remote-train'
  | 'remote-submit'
  | 'remote-logs'
  | 'remote-status'
  | 'remote-cancel'
  | 'remote-pull'
  | 'remote-exec'
  | 'remote-shell'
  | 'remote-up'
  | 'remote-down'
  | 'remote-doctor';

/** Options that are the executor's own, not the configuration's. */
export const OWN_OPTIONS: Record<TargetName, string[]> = {
  'remote-sync': ['dryRun', 'force', 'verbose', 'json'],
  'remote-watch': ['force', 'verbose', 'json'],
  'remote-train': ['dryRun', 'force', 'verbose', 'json', 'rerun', 'resumeFrom'],
  'remote-submit': ['dryRun', 'force', 'verbose', 'json', 'rerun', 'resumeFrom'],
  'remote-logs': ['run', 'since', 'tail', 'follow', 'verbose', 'json'],
  'remote-status': ['run', 'watch', 'limit', 'verbose', 'json'],
  'remote-cancel': ['run', 'force', 'verbose', 'json'],
  'remote-pull': ['run', 'path', 'checkpoints', 'output', 'overwrite', 'verbose', 'json'],
  'remote-exec': ['run', 'command', 'verbose', 'json'],
  'remote-shell': ['run', 'verbose', 'json'],
  'remote-up': ['verbose', 'json'],
  'remote-down': ['stop', 'force', 'verbose', 'json'],
  'remote-doctor': ['verbose', 'json'],
};

/**
 * Refuses an empty value of an option of the target's own: `--run=$RUN` with an unset variable would mean the latest run.
 * @throws Problem `OPTION_INVALID`
 */
export function assertNoEmptyOption(target: TargetName, options: Raw): void {
  // An empty command has a message of its own.
  const isEmpty = (name: string) => name !== 'command' && [options[name]].flat().includes('');
  const name = OWN_OPTIONS[target].find(isEmpty);
  if (name === undefined) return;
  throw new Problem('OPTION_INVALID', `--${name} is empty.`, {
    next: `Give --${name} a value, or leave it out. If you wrote a shell variable, it is empty or not set.`,
  });
}

/** Options of the executors' own that are numbers; the others are text, or are no numbers at all. */
const NUMBERS = new Set(['tail', 'limit']);

/**
 * A target's options, where Nx made numbers of texts that look like one, as they were typed: each that is text.
 * @param asTyped an option's value with the text of each number that was typed.
 */
export function textOptions(target: TargetName, options: Raw, asTyped: (key: string, value: unknown) => unknown): Raw {
  const schemas: Record<string, z.ZodType> = { ...configurationSchema.shape };
  for (const key of trainOptions(target)) schemas[key] = trainShape[key as keyof typeof trainShape];
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => {
      const typed = asTyped(key, value);
      const own = OWN_OPTIONS[target].includes(key);
      const isText = own ? !NUMBERS.has(key) : schemas[key] !== undefined && takesText(schemas[key], typed);
      return [key, isText ? typed : value];
    }),
  );
}

/** Whether a schema takes a value as the kind of value that it is; what is wrong with its content is told later. */
function takesText(schema: z.ZodType, value: unknown): boolean {
  const { error } = schema.safeParse(value);
  return !error?.issues.some(
    ({ code }) => code === 'invalid_type' || code === 'invalid_union' || code === 'invalid_value',
  );
}

/** Keys of `train` that are options of the target by themselves. */
export function trainOptions(target: TargetName): string[] {
  if (target === 'remote-cancel') return ['gracePeriod'];
  return isTraining(target) ? Object.keys(trainShape) : [];
}

export function isTraining(target: TargetName): boolean {
  return target === 'remote-train' || target === 'remote-submit';
}

/** All options that a target takes. */
export function optionNames(target: TargetName): string[] {
  const own = Object.keys(configurationSchema.shape).filter((key) => key !== '$schema');
  return [...trainOptions(target), ...OWN_OPTIONS[target], ...own];
}
