import { Problem } from '../report/problem';
import { formatCount } from '../report/units';
import type { Store } from '../store/store';
import type { StoredKey } from '../store/objects/types';

/** What an object of the store is, by its name: docs/reference/formats.md, "Store". */
export type Kind = 'pack' | 'index' | 'manifest' | 'ref' | 'runtime' | 'run' | 'key' | 'temporary';

export interface Item {
  kind: Kind;
  /** Below the store's base. */
  name: string;
  /** Encoded, as in the name; '' for an object of no project. */
  project: string;
  /** The run that it is part of; '' for what is of none. */
  run: string;
  /** bytes */
  size: number;
  /** ms since the epoch, by S3's clock. */
  modified: number;
}

export interface Inventory {
  /** By their names. */
  items: Map<string, Item>;
  /** What is of no kind that is known here: left alone. */
  unknown: { count: number; bytes: number };
}

const NAMES: [Kind, RegExp][] = [
  ['pack', /^packs\/[0-9a-f]{64}$/],
  ['index', /^indexes\/(\d{8}T\d{9}-[0-9a-f]{16}|pending-deletes)$/],
  ['runtime', /^runtime\/[0-9a-f]{64}$/],
  ['manifest', /^projects\/([^/]+)\/manifests\/[0-9a-f]{64}$/],
  ['ref', /^projects\/([^/]+)\/ref\/[^/]+\/[^/]+$/],
  ['run', /^projects\/([^/]+)\/run\/([^/]+)\/[^]+$/],
  ['key', /^projects\/([^/]+)\/key\/[^/]+$/],
  ['temporary', /^projects\/([^/]+)\/(plan|archive|launch)\/[^/]+$/],
  ['temporary', /^projects\/([^/]+)\/reservations$/],
  ['temporary', /^projects\/([^/]+)\/(watch|doctor)\/[^/]+\/[^/]+$/],
];

/** @param stored with a key that begins with `base`. Null for what is of no known kind. */
export function itemOf({ key, size, modified }: StoredKey, base: string): Item | null {
  const name = key.slice(base.length);
  for (const [kind, pattern] of NAMES) {
    const match = pattern.exec(name);
    if (!match) continue;
    const project = (kind !== 'index' && match[1]) || '';
    return { kind, name, project, run: kind === 'run' ? match[2] : '', size, modified };
  }
  return null;
}

/** All are in memory at once: some gigabytes, at most. */
const MAX_OBJECTS = 10_000_000;

/**
 * Lists everything below `base`.
 * @param onPage told how many objects were seen so far. @throws Problem `STORE_TOO_MANY`
 */
export async function takeInventory(
  store: Store,
  base: string,
  onPage: (count: number) => void,
  limit = MAX_OBJECTS,
): Promise<Inventory> {
  const inventory: Inventory = { items: new Map(), unknown: { count: 0, bytes: 0 } };
  let count = 0;
  for await (const page of store.pages(base)) {
    for (const stored of page) {
      const item = itemOf(stored, base);
      if (item) inventory.items.set(item.name, item);
      else {
        inventory.unknown.count++;
        inventory.unknown.bytes += stored.size;
      }
    }
    onPage((count += page.length));
    if (count > limit)
      throw new Problem(
        'STORE_TOO_MANY',
        `s3://${store.bucket}/${base} holds more than ${formatCount(limit, 'object')}: prune can't tell what each of them needs.`,
        {
          next: 'Another program is writing to this prefix: check who may, and delete what it has written (aws s3 ls, aws s3 rm --recursive).',
        },
      );
  }
  return inventory;
}
