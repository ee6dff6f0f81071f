import { getHeapStatistics } from 'node:v8';
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

const MAX_OBJECTS = 10_000_000;
/** What an object takes in memory besides its name, bytes, and a character of its name: somewhat more than was measured (340 and 1.6). */
const OBJECT_BYTES = 400;
const CHARACTER_BYTES = 2;
/** The part of the heap that the objects may take: the rest is for what prune does with them. */
const HEAP_SHARE = 0.7;

export interface InventoryLimits {
  objects: number;
  /** Of the heap, bytes. */
  memory: number;
}

const OTHER_WRITER =
  'Another program is writing to this prefix: check who may, and delete what it has written (aws s3 ls, aws s3 rm --recursive).';

/**
 * Lists everything below `base`. All of it is in memory at once, and whoever may write there chooses how many names there
 * are, of up to 1,024 bytes: so what they take is counted, and the program does not die of them.
 * @param onPage told how many objects were seen so far. @throws Problem `STORE_TOO_MANY`
 */
export async function takeInventory(
  store: Store,
  base: string,
  onPage: (count: number) => void,
  { objects, memory }: InventoryLimits = {
    objects: MAX_OBJECTS,
    memory: HEAP_SHARE * getHeapStatistics().heap_size_limit,
  },
): Promise<Inventory> {
  const inventory: Inventory = { items: new Map(), unknown: { count: 0, bytes: 0 } };
  let count = 0;
  let taken = 0;
  const place = `s3://${store.bucket}/${base}`;
  for await (const page of store.pages(base)) {
    for (const stored of page) {
      const item = itemOf(stored, base);
      if (item) {
        inventory.items.set(item.name, item);
        taken += OBJECT_BYTES + CHARACTER_BYTES * stored.key.length;
      } else {
        inventory.unknown.count++;
        inventory.unknown.bytes += stored.size;
      }
    }
    onPage((count += page.length));
    if (count > objects)
      throw tooMany(
        `${place} holds more than ${formatCount(objects, 'object')}: prune can't tell what each of them needs.`,
        OTHER_WRITER,
      );
    if (taken > memory)
      throw tooMany(
        `The names of the objects in ${place} do not fit into the memory of this process: ${formatCount(count, 'object')} were listed, and there are more.`,
        `To allow it more, in MB: NODE_OPTIONS=--max-old-space-size=16384. If these are not objects of your runs: ${OTHER_WRITER}`,
      );
  }
  return inventory;
}

function tooMany(what: string, next: string): Problem {
  return new Problem('STORE_TOO_MANY', what, { next });
}
