import { isConfidential } from './explain-issue';
import { isObject, type Raw } from './merge';
import { connectionShape } from './schema';

/** The keys that decide on which instance, account, region and store a command acts. */
const SELECTING = Object.keys(connectionShape).filter((key) => key !== 'pricePerHour');

/**
 * The options of a target that decide what it acts on, as words of a command line. Texts that may be confidential are left
 * out, and lists of objects, for which a command line has no form.
 */
export function selectingOptions(options: Raw): string[] {
  return SELECTING.flatMap((key) => wordsOf([key], options[key]));
}

function wordsOf(path: readonly string[], value: unknown): string[] {
  if (value === undefined || value === null || isConfidential(path)) return [];
  if (Array.isArray(value)) return value.some(isObject) ? [] : value.flatMap((each) => wordsOf(path, each));
  if (isObject(value)) return Object.entries(value).flatMap(([key, each]) => wordsOf([...path, key], each));
  return [`--${path.join('.')}=${String(value)}`];
}
