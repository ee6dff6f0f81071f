import type { z } from 'zod';
import { sanitizeForTerminal } from '../../report/terminal-text';

type Issue = z.core.$ZodIssue;

/** Longest value that a message repeats. */
const MAX_VALUE_LENGTH = 80;
/** Sections whose values a message does not repeat: they may be confidential. */
const CONFIDENTIAL = ['secrets', 'env', 'userData'];

/** A text, JSON or plain, whose URLs are without user names, passwords and queries, which hold tokens and signatures. */
export function withoutUrlSecrets(text: string): string {
  return text.replace(/([a-z][a-z0-9+.-]*:\/\/)([^\s"\\]*)/gi, (_url, scheme: string, rest: string) => {
    const [place] = rest.split(/[?#]/, 1);
    const at = place.lastIndexOf('@');
    return `${scheme}${at < 0 ? place : `…${place.slice(at)}`}${place.length < rest.length ? '?…' : ''}`;
  });
}

/** Says what is allowed, and the value as written. @param values what was checked. */
export function explainIssue(issue: Issue, values: unknown): string {
  const value = issue.path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key],
    values,
  );
  const found = JSON.stringify(value);
  const meant = isConfidential(issue.path) ? null : meantValue(issue, value);
  if (meant !== null && meant.length <= MAX_VALUE_LENGTH)
    return `${allowed(issue)}: write ${sanitizeForTerminal(withoutUrlSecrets(meant))}`;
  const shown =
    found === undefined || isConfidential(issue.path) || found.length > MAX_VALUE_LENGTH
      ? ''
      : `; it is ${sanitizeForTerminal(withoutUrlSecrets(found))}`;
  return `${allowed(issue)}${shown}`;
}

/** The value, as JSON, that one of the wrong kind was meant to be: the entry of a list, or the paths of `checkpoints`. */
function meantValue(issue: Issue, value: unknown): string | null {
  if (issue.code !== 'invalid_type') return null;
  if (issue.expected === 'array' && typeof value === 'string') return JSON.stringify([value]);
  const arePaths = [value].flat().every((each) => typeof each === 'string');
  if (issue.expected !== 'object' || issue.path.at(-1) !== 'checkpoints' || !arePaths) return null;
  return `{ "paths": ${JSON.stringify([value].flat())} }`;
}

/** Whether a setting's value may be a secret. */
export function isConfidential(path: readonly PropertyKey[]): boolean {
  return path.some((key) => CONFIDENTIAL.includes(String(key)));
}

function allowed(issue: Issue): string {
  const kinds = kindsOf(issue);
  if (kinds.length > 0) return `must be ${[...new Set(kinds)].join(' or ')}`;
  if (issue.code === 'invalid_key') return issue.issues.map(({ message }) => message).join('; ');
  if (issue.code === 'too_small')
    return `must be ${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}${unit(issue.origin)}`;
  if (issue.code === 'too_big')
    return `must be ${issue.inclusive ? 'at most' : 'less than'} ${issue.maximum}${unit(issue.origin)}`;
  return issue.message;
}

/** The kinds of value that are allowed; none where the kind is right and the content is wrong. */
function kindsOf(issue: Issue): string[] {
  if (issue.code === 'invalid_type') return [KINDS[issue.expected] ?? issue.expected];
  if (issue.code === 'invalid_value') return issue.values.map((value) => JSON.stringify(value));
  if (issue.code === 'invalid_union')
    return issue.errors
      .flat()
      .flatMap((each) => (each.path.length ? ['an object or a list as documented'] : kindsOf(each)));
  return [];
}

const KINDS: Partial<Record<string, string>> = {
  string: 'text in quotes',
  number: 'a number without quotes',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
};

function unit(origin: string): string {
  if (origin === 'string') return ' characters long';
  return origin === 'array' ? ' entries long' : '';
}

/** The known word that a misspelled one was meant to be; undefined: none is near. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const limit = Math.max(1, Math.floor(word.length / 3));
  const near = known
    .map((each) => ({ each, distance: distance(word.toLowerCase(), each.toLowerCase(), limit) }))
    .filter((one) => one.distance <= limit)
    .sort((one, other) => one.distance - other.distance);
  return near[0]?.each;
}

/** Edit distance of two words; more than `limit` where their lengths show it. A swap of two letters counts as two. */
function distance(one: string, other: string, limit: number): number {
  if (Math.abs(one.length - other.length) > limit) return limit + 1;
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let at = 1; at <= one.length; at += 1) {
    const next = [at];
    for (let to = 1; to <= other.length; to += 1) {
      const same = one[at - 1] === other[to - 1] ? 0 : 1;
      next.push(Math.min(row[to] + 1, next[to - 1] + 1, row[to - 1] + same));
    }
    row = next;
  }
  return row[other.length];
}
