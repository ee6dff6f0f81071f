import type { Store, StoredKey } from '../store/store';

/** What an object of the store is, by its name: docs/FORMAT.md, "Store". */
export type Kind = 'pack' | 'index' | 'record' | 'ref' | 'helper' | 'run' | 'key' | 'leftover';

export interface Item {
  kind: Kind;
  /** Below `v1/`. */
  name: string;
  /** Encoded, as it is in the name; '' for what is nobody's own. */
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

/** A project may have any name, `p` and `x` too: what is a project's has one part more. */
const NAMES: [Kind, RegExp][] = [
  ['pack', /^p\/[0-9a-f]{64}$/],
  ['index', /^x\/(\d{8}T\d{9}-[0-9a-f]{16}|condemned)$/],
  ['helper', /^helper\/[0-9a-f]{64}$/],
  ['record', /^([^/]+)\/m\/[0-9a-f]{64}$/],
  ['ref', /^([^/]+)\/ref\/[^/]+\/[^/]+$/],
  ['run', /^([^/]+)\/run\/([^/]+)\/[^]+$/],
  ['key', /^([^/]+)\/key\/[^/]+$/],
  ['leftover', /^([^/]+)\/(plan|archive|launch)\/[^/]+$/],
  ['leftover', /^([^/]+)\/(watch|out)\/[^/]+\/[^/]+$/],
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

/** Lists everything below `base`. @param onPage told how many objects were seen so far. */
export async function takeInventory(store: Store, base: string, onPage: (count: number) => void): Promise<Inventory> {
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
  }
  return inventory;
}
