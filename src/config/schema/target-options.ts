import type { Raw } from './merge';
import { Problem } from '../../report/problem';
import type { z } from 'zod';
import { executorOptions, isNumber, type TargetName } from './executor-options';
import { configurationSchema, ONCE, trainShape } from './schema';
import { withBooleans } from './typed-booleans';

/**
 * Refuses an empty value of an option of the target's own: `--run=$RUN` with an unset variable would mean the latest run.
 * @throws Problem `OPTION_INVALID`
 */
export function assertNoEmptyOption(target: TargetName, options: Raw): void {
  // An empty command has a message of its own.
  const isEmpty = (name: string) => name !== 'command' && [options[name]].flat().includes('');
  const name = executorOptions(target).find(isEmpty);
  if (name === undefined) return;
  throw new Problem('OPTION_INVALID', `--${name} is empty.`, {
    next: `Give --${name} a value, or leave it out. If you wrote a shell variable, it is empty or not set.`,
  });
}

/**
 * A target's options as they were meant: text as it was typed, where Nx made a number of it, and `false` where it may be one.
 * @param asTyped an option's value with the text of each number that was typed.
 */
export function textOptions(target: TargetName, options: Raw, asTyped: (key: string, value: unknown) => unknown): Raw {
  const schemas: Record<string, z.ZodType> = { ...configurationSchema.shape };
  for (const key of trainOptions(target)) schemas[key] = trainShape[key as keyof typeof trainShape];
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => {
      const typed = asTyped(key, value);
      const own = executorOptions(target).includes(key);
      const isText = own
        ? !isNumber(target, key)
        : schemas[key] !== undefined && isMeantAsText(schemas[key], typed, value);
      const meant = isText ? typed : value;
      return [key, own || !schemas[key] ? meant : withBooleans(schemas[key], meant)];
    }),
  );
}

/** Whether an option is the text that was typed, not the number that Nx made of it: not where only the number is allowed. */
function isMeantAsText(schema: z.ZodType, typed: unknown, value: unknown): boolean {
  const isAllowed = (each: unknown) => schema.safeParse(each, ONCE).success;
  if (typeof value === 'number' && isAllowed(value) && !isAllowed(typed)) return false;
  return takesText(schema, typed);
}

/** Whether a schema takes a value as the kind of value that it is; what is wrong with its content is told later. */
function takesText(schema: z.ZodType, value: unknown): boolean {
  const { error } = schema.safeParse(value, ONCE);
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
  return [...trainOptions(target), ...executorOptions(target), ...own];
}
