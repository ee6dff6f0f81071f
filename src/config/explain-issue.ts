import type { z } from 'zod';
import { printable } from '../report/terminal-text';

type Issue = z.core.$ZodIssue;

/** Longest value that a message repeats. */
const LONGEST = 80;
/** Sections whose values a message does not repeat: they may be confidential. */
const CONFIDENTIAL = ['secrets', 'env', 'userData'];

/** Says what is allowed, and the value as written. @param values what was checked. */
export function explainIssue(issue: Issue, values: unknown): string {
  const value = issue.path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key],
    values,
  );
  const found = JSON.stringify(value);
  const isConfidential = issue.path.some((key) => CONFIDENTIAL.includes(String(key)));
  const shown = found === undefined || isConfidential || found.length > LONGEST ? '' : `; it is ${printable(found)}`;
  return `${allowed(issue)}${shown}`;
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

/** The known word that a misspelt one was meant to be; undefined: none is near. */
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
