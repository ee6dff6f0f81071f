import { readPriceTag, type Price } from '../price/price';
import { TAG } from './ownership';

/** What the tags of something that we made say: docs/reference/formats.md, "Tags". What they don't, or not in its shape, is null. */
export interface ReadTags {
  project: string | null;
  workspace: string | null;
  owner: string | null;
  /** Without a slash at its end. */
  store: string | null;
  run: string | null;
  price: Price | null;
  /** ms from the launch. */
  lifetime: number | null;
  /** ms since the epoch. */
  deadline: number | null;
  /** ms. */
  idle: number | null;
  /** ms since the epoch; of a placement group, of which EC2 does not say it. */
  created: number | null;
  /** ms that it is kept after its run's success, or failure; null: until a shutdown rule ends it. */
  finish: { shutdown: 'terminate' | 'stop'; success: number | null; failure: number | null } | null;
}

export function readTags(tags: Record<string, string>): ReadTags {
  const text = (key: string) => tags[key] || null;
  const number = (key: string, factor: number) =>
    /^\d{1,15}$/.test(tags[key] ?? '') ? Number(tags[key]) * factor : null;
  return {
    project: text(TAG.project),
    workspace: text(TAG.workspace),
    owner: text(TAG.owner),
    store: text(TAG.store)?.replace(/\/+$/, '') ?? null,
    run: text(TAG.run),
    price: readPriceTag(tags[TAG.price] ?? ''),
    lifetime: number(TAG.lifetime, 1000),
    deadline: number(TAG.deadline, 1),
    idle: number(TAG.idle, 1000),
    created: number(TAG.created, 1),
    finish: readFinish(tags[TAG.finish] ?? ''),
  };
}

function readFinish(text: string): ReadTags['finish'] {
  const [, shutdown, success, failure] = /^(terminate|stop) (\d{1,9}|-) (\d{1,9}|-)$/.exec(text) ?? [];
  if (success === undefined) return null;
  const ms = (word: string) => (word === '-' ? null : Number(word) * 1000);
  return { shutdown: shutdown as 'terminate' | 'stop', success: ms(success), failure: ms(failure) };
}

/** When it ends at the latest, and by what; null: nothing says so. */
export function endOf(
  since: number,
  { lifetime, deadline }: ReadTags,
): { at: number; by: 'lifetime' | 'deadline' } | null {
  const ends = [
    ...(lifetime === null ? [] : [{ at: since + lifetime, by: 'lifetime' as const }]),
    ...(deadline === null ? [] : [{ at: deadline, by: 'deadline' as const }]),
  ];
  return ends.sort((one, other) => one.at - other.at)[0] ?? null;
}
