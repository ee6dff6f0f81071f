import { NAMING } from './schema';

export type Raw = Record<string, unknown>;

/** Puts options over those of lower precedence, key by key; lists and single values take the place of others. */
export function merge(low: Raw, high: Raw): Raw {
  const out: Raw = { ...low };
  for (const [key, value] of Object.entries(high)) {
    const both =
      isObject(out[key]) && isObject(value) && (key !== 'instance' || (describes(out[key]) && describes(value)));
    out[key] = both ? merge(out[key] as Raw, value as Raw) : value;
  }
  // A script named above takes the place of a command named below, and the other way round.
  if ('script' in high && !('command' in high)) delete out.command;
  if ('command' in high && !('script' in high)) delete out.script;
  return out;
}

/** Whether it describes an instance, or part of it, instead of naming one that is there. */
export function describes(value: Raw): boolean {
  return !NAMING.some((key) => key in value);
}

export function isObject(value: unknown): value is Raw {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
