import { createHash, randomBytes } from 'node:crypto';

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';
const SLUG_LENGTH = 40;

/** A project's name as a part of a run id: lower-case letters, digits and single dashes, never empty. */
export function slug(project: string): string {
  const text = project
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, SLUG_LENGTH)
    .replace(/^-+|-+$/g, '');
  return text || 'run';
}

/** `20261124-043012-digits-x7k2qa`: sortable, readable (docs/reference/formats.md, "Run ids"). */
export function newRunId(project: string, now: Date, random: Buffer = randomBytes(6)): string {
  const [date, time] = now.toISOString().split('T');
  const suffix = [...random.subarray(0, 6)].map((byte) => ALPHABET[byte & 31]).join('');
  return `${date.replace(/-/g, '')}-${time.slice(0, 8).replace(/:/g, '')}-${slug(project)}-${suffix}`;
}

/** When a run was given its id, ms since the epoch, to a second. */
export function runTime(id: string): number {
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-/.exec(id)!.map(Number);
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

/**
 * What makes two trainings the same: the hash of everything that decides their result.
 * @param parts JSON values; objects are compared regardless of their keys' order.
 */
export function runKey(parts: Record<string, unknown>): string {
  return createHash('sha256').update(canonicalJson(parts)).digest('hex');
}

function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (value && typeof value === 'object') {
    const entries = Object.entries(value)
      .filter(([, each]) => each !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, each]) => `${JSON.stringify(key)}:${canonicalJson(each)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}
