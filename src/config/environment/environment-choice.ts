import { splitWords } from '../syntax/words';
import type { EnvironmentManager } from './environment-manager';

/** The part of `train` that decides which Python environment a training has. */
export interface EnvironmentChoice {
  environment: EnvironmentManager | 'auto';
  /** null: a Python script is run instead. */
  command: readonly string[] | null;
  /** The Python script, as far as it is known. */
  script?: string;
  /** null: the environment is set up by its manager. */
  setup: readonly string[][] | null;
}

const MANAGERS: readonly unknown[] = ['uv', 'poetry', 'conda', 'pip', 'none'];

/** The choice of a `train` section as it is written. An invalid value counts as none: the target reports it. */
export function environmentChoice(train: Record<string, unknown>): EnvironmentChoice {
  const { environment, command, setup, script } = train;
  return {
    environment: MANAGERS.includes(environment) ? (environment as EnvironmentManager) : 'auto',
    command: script !== undefined || command === undefined ? null : wordsOf(command),
    ...(typeof script === 'string' ? { script } : {}),
    setup: setup === undefined ? null : setup === false ? [] : (Array.isArray(setup) ? setup : [setup]).map(wordsOf),
  };
}

function wordsOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.map(String);
  try {
    return splitWords(String(value), 'a command');
  } catch {
    return [];
  }
}
