import { Problem } from '../report/problem';
import type { Store } from '../store/store';
import type { Ref } from '../sync/head';
import { NewerRecord, recordNeeds } from '../sync/record';
import type { Item } from './inventory';
import type { Reader, RecordNeeds, RefNeeds } from './needed';
import { NewerList, parseKey, parseParts, parseRunRecord, type RunNeeds } from './run-lists';
import { sideBySide } from './side-by-side';

/** Read at once: objects, and bytes of them (what they hold is some times that). */
const READS = 8;
const ID = /^[0-9a-f]{64}$/;

/** Reads refs, records and runs' lists of the store; a damaged one names nothing, as it does for a sync, and is reported. */
export class StoreReader implements Reader {
  /** Names of what is damaged. */
  readonly damaged: string[] = [];

  /** @param onRead told how many of how many records were read. */
  constructor(
    private readonly store: Store,
    private readonly base: string,
    private readonly onRead: (done: number, total: number) => void,
  ) {}

  refs(items: Item[]): Promise<RefNeeds[]> {
    return this.read(items, (bytes, { project }) => {
      const ref = JSON.parse(bytes.toString()) as Ref;
      if ((ref.v as number) > 2) throw new NewerRecord(`a ref of version ${String(ref.v)}`);
      const ids = [ref.snapshot, ...ref.history].filter((id) => ID.test(id));
      return { records: [...new Set(ids)].map((id) => `${project}/m/${id}`), helper: `helper/${ref.helper}` };
    });
  }

  records(items: Item[]): Promise<RecordNeeds[]> {
    let done = 0;
    return this.read(items, (bytes, { project }) => {
      this.onRead(++done, items.length);
      const { base, packs } = recordNeeds(bytes);
      return { base: base && `${project}/m/${base}`, packs: packs.map((sha256) => `p/${sha256}`) };
    });
  }

  async runs(items: Item[]): Promise<Map<string, RunNeeds>> {
    let done = 0;
    const read = await this.read(items, (bytes, { name }) => {
      this.onRead(++done, items.length);
      return [name, parseRunRecord(bytes)] as const;
    });
    return new Map(read);
  }

  async keys(items: Item[]): Promise<Map<string, string>> {
    return new Map(await this.read(items, (bytes, { name }) => [name, parseKey(bytes)] as const));
  }

  async parts(items: Item[]): Promise<Set<string> | null> {
    const read = await this.read(items, parseParts);
    return read.length === items.length ? new Set(read.flat()) : null;
  }

  private async read<T>(items: Item[], parse: (bytes: Buffer, item: Item) => T): Promise<T[]> {
    const found: T[] = [];
    await sideBySide(items, READS, async (item) => {
      // What may not be read is not taken for gone: then it would keep nothing.
      const stored = await this.store.getVersion(this.base + item.name, true);
      if (!stored) return;
      try {
        found.push(parse(stored.bytes, item));
      } catch (error) {
        if (error instanceof NewerRecord || error instanceof NewerList) throw newer(item.name, error);
        this.damaged.push(item.name);
      }
    });
    return found;
  }
}

/** What was written by a later version may name what this one does not see. */
export function newer(name: string, cause: Error): Problem {
  return new Problem(
    'PRUNE_NEWER',
    `The store holds ${cause.message}: ${name}. This version of nx-ec2 can't tell what it needs.`,
    {
      next: 'Run prune with the version of nx-ec2 that wrote it.',
      cause,
    },
  );
}
