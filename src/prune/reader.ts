import { hash } from 'node:crypto';
import { Problem } from '../report/problem';
import { openSigned, RecordUnverified } from '../run/record/signed-record';
import { prefixOfBase, StoreKeys, storeNames } from '../store/keys';
import type { Store } from '../store/store';
import { MAX_REF_BYTES, type Ref } from '../sync/manifest/head';
import { MAX_MANIFEST_BYTES, NewerManifest, manifestNeeds } from '../sync/manifest/manifest';
import type { Item } from './inventory';
import { NewerList, parseKey, parseParts, parseRunRecord, parseUnverified, type RunNeeds } from './run-lists';
import { mapConcurrent } from '../system/side-by-side';
import type { ManifestNeeds, RefNeeds, Reader } from './types';
import type { StoredVersion } from '../store/objects/types';
import { StoreUnreadable, UnusableObject } from '../store/objects/unusable';

/** Read at once: objects, and bytes of them (what they hold is some times that). */
const CONCURRENT_READS = 8;
const ID = /^[0-9a-f]{64}$/;
/** The largest object of each kind, bytes: records and lists of runs are as in `src/run`, which uses what is here. */
const MAX_RUN_RECORD_BYTES = 1024 * 1024;
const MAX_KEY_BYTES = 64 * 1024;
const MAX_FILE_LIST_BYTES = 128 * 1024 * 1024;

/** Reads refs, manifests and runs' lists of the store; a damaged one names nothing, as it does for a sync, and is reported. */
export class StoreReader implements Reader {
  /** Names of what is damaged. */
  readonly damaged: string[] = [];
  /** Names of runs' records that do not bear the signature of their runs, or whose key can't be read. */
  readonly unverified: string[] = [];
  /** Names of refs and manifests that S3 does not return: whoever may read them needs what they name. */
  readonly unreadable: string[] = [];

  /** @param onRead told how many of how many manifests were read. */
  constructor(
    private readonly store: Store,
    private readonly base: string,
    private readonly onRead: (done: number, total: number) => void,
  ) {}

  refs(items: Item[]): Promise<RefNeeds[]> {
    return this.read(items, MAX_REF_BYTES, (bytes, { project }) => {
      const ref = JSON.parse(bytes.toString()) as Ref;
      if ((ref.v as number) > 2) throw new NewerManifest(`a ref of version ${String(ref.v)}`);
      const ids = [ref.snapshot, ...ref.history].filter((id) => ID.test(id));
      return {
        manifests: [...new Set(ids)].map((id) => storeNames.manifest(project, id)),
        runtime: storeNames.runtime(ref.runtime),
      };
    });
  }

  async manifests(items: Item[], take: (needs: ManifestNeeds) => void): Promise<void> {
    let done = 0;
    await this.read(items, MAX_MANIFEST_BYTES, (bytes, { project }) => {
      this.onRead(++done, items.length);
      const { base, packs } = manifestNeeds(bytes);
      take({ base: base && storeNames.manifest(project, base), packs: namesOf(packs) });
    });
  }

  async runs(items: Item[]): Promise<Map<string, RunNeeds>> {
    let done = 0;
    const read = await this.read(items, MAX_RUN_RECORD_BYTES, async (bytes, item) => {
      this.onRead(++done, items.length);
      return [item.name, await this.needsOfRun(bytes, item)] as const;
    });
    return new Map(read);
  }

  /** Anybody may have written a record that can't be verified: what it names is kept, and nothing that it does not name goes. */
  private async needsOfRun(bytes: Buffer, { project, run, name }: Item): Promise<RunNeeds> {
    const keys = new StoreKeys(prefixOfBase(this.base), decodeURIComponent(project));
    try {
      return parseRunRecord(await openSigned(this.store.signingKeys, { keys, run }, bytes));
    } catch (error) {
      if (!(error instanceof RecordUnverified)) throw error;
      this.unverified.push(name);
      return parseUnverified(bytes);
    }
  }

  async keys(items: Item[]): Promise<Map<string, string[]>> {
    return new Map(await this.read(items, MAX_KEY_BYTES, (bytes, { name }) => [name, parseKey(bytes)] as const));
  }

  async parts(items: Item[], hashes: ReadonlyMap<string, string> = new Map()): Promise<Set<string> | null> {
    const read = await this.read(items, MAX_FILE_LIST_BYTES, (bytes, { name }) => {
      const expected = hashes.get(name);
      // Anybody may have written it who writes below the run, in a later version, too.
      if (expected !== undefined && hash('sha256', bytes, 'hex') !== expected) throw new Error("not the run's");
      try {
        return parseParts(bytes);
      } catch (error) {
        // The version of a list counts only where the record names its bytes.
        if (error instanceof NewerList && expected === undefined) throw new Error(error.message, { cause: error });
        throw error;
      }
    });
    return read.length === items.length ? new Set(read.flat()) : null;
  }

  /** @param limit of each, bytes: one that is larger is damaged. */
  private async read<T>(
    items: Item[],
    limit: number,
    parse: (bytes: Buffer, item: Item) => T | Promise<T>,
  ): Promise<T[]> {
    const found: T[] = [];
    await mapConcurrent(items, CONCURRENT_READS, async (item) => {
      const stored = await readOrReason(this.store, this.base + item.name, limit);
      if (stored === null) return;
      if (stored instanceof UnusableObject) return void this.listOf(item, stored).push(item.name);
      try {
        found.push(await parse(stored.bytes, item));
      } catch (error) {
        if (error instanceof NewerManifest || error instanceof NewerList) throw newer(item.name, error);
        this.damaged.push(item.name);
      }
    });
    return found;
  }

  private listOf({ kind, name }: Item, why: UnusableObject): string[] {
    if (!(why instanceof StoreUnreadable)) return this.damaged;
    if (kind === 'run' && name.endsWith('/record.json')) return this.unverified;
    return kind === 'ref' || kind === 'manifest' ? this.unreadable : this.damaged;
  }
}

function* namesOf(packs: Iterable<string>): Iterable<string> {
  for (const pack of packs) if (ID.test(pack)) yield storeNames.pack(pack);
}

/** An object, or why its content can't be had; null where there is none. A 403 does not mean that there is none. */
export async function readOrReason(
  store: Store,
  key: string,
  limit: number,
): Promise<StoredVersion | UnusableObject | null> {
  try {
    return await store.getWithETag(key, limit, { strict: true });
  } catch (error) {
    if (error instanceof UnusableObject) return error;
    throw error;
  }
}

/** What was written by a later version may name what this one does not see. */
export function newer(name: string, cause: Error): Problem {
  return new Problem(
    'PRUNE_NEWER',
    `The store holds ${cause.message}: ${name}. This version of nx-ec2 can't tell what it needs.`,
    {
      next: 'Run prune with the version of nx-ec2 that wrote it. If nobody uses a later one, another program has written this object: delete it, and check who may write to the bucket.',
      cause,
    },
  );
}
