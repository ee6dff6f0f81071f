import { hash } from 'node:crypto';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatCount } from '../../report/units';
import { WHOLE_BYTES } from '../../snapshot/chunk';
import { ChunkList } from '../../snapshot/chunk-list';
import type { FileEntry } from '../../snapshot/entry';
import type { StoreKeys } from '../../store/keys';
import { PackIndex } from '../../store/packs/pack-index';
import { readChunks } from '../../store/packs/pack-reader';
import { UnusableObject } from '../../store/objects/unusable';
import type { Store } from '../../store/store';
import { inflate } from '../../system/bounded';
import type { StoredSnapshot } from '../manifest/read-snapshot';
import type { PackName } from '../../store/packs/index-format';

export interface FetchOptions {
  /** Told of each piece of a content, verified, in any order: where in the content it belongs, bytes. */
  onPiece: (content: string, offset: number, data: Buffer) => Promise<void>;
  /** Told of the store's indexes that can't be used. */
  warn: (text: string) => void;
  signal?: AbortSignal;
}

/** Packs that are read at once: each may be 16 MiB. */
const CONCURRENT_PACKS = 3;
const MAX_NAMED = 5;
/**
 * A manifest may name packs that hold nothing that is wanted. So many are looked at, or as many as chunks are wanted, if
 * these are more: a forged one can name millions.
 */
const MAX_OTHER_PACKS = 256;

/** Where a chunk is wanted. */
interface Place {
  content: string;
  offset: number;
}

/**
 * Fetches contents of a snapshot from the store: from its records, from the packs that they name, and what they do not
 * tell, from where the store's indexes say. If they name more packs than are looked at, the indexes are asked first. An empty content has no pieces.
 * @param wanted each content once.
 * @throws Problem `CONTENTS_GONE` that names the contents that can't be had, and why; `onPiece` has been called for the others.
 */
export async function fetchContents(
  store: Store,
  keys: StoreKeys,
  stored: StoredSnapshot,
  wanted: readonly FileEntry[],
  { onPiece, warn, signal }: FetchOptions,
): Promise<void> {
  const missing = new Map<string, Place[]>();
  const unknown: string[] = [];
  for (const { sha256, size } of wanted) {
    if (size === 0) continue;
    const inside = Object.hasOwn(stored.inline, sha256) && fromData(stored.inline[sha256], sha256, size);
    if (inside) {
      await onPiece(sha256, 0, inside);
      continue;
    }
    const chunks = size <= WHOLE_BYTES ? [[sha256, size] as const] : recipeOf(stored, sha256, size);
    if (!chunks) unknown.push(sha256);
    let offset = 0;
    for (const [chunk, bytes] of chunks ?? []) {
      const places = missing.get(chunk);
      if (places) places.push({ content: sha256, offset });
      else missing.set(chunk, [{ content: sha256, offset }]);
      offset += bytes;
    }
  }
  const absent: string[] = [];
  let damaged: Problem | undefined;
  const take = (packs: PackName[]) =>
    each(packs, async (pack) => {
      signal?.throwIfAborted();
      if (!missing.size) return;
      const onChunk = async (chunk: string, data: Buffer) => {
        const places = missing.get(chunk) ?? [];
        // A chunk may be in several packs.
        missing.delete(chunk);
        for (const { content, offset } of places) await onPiece(content, offset, data);
      };
      try {
        if (!(await readChunks(store, keys, pack, { isWanted: (chunk) => missing.has(chunk), onChunk, signal })))
          absent.push(pack.sha256);
      } catch (error) {
        if (!isDamaged(error)) throw error;
        damaged ??= error;
      }
    });
  const named = stored.packs.map(([sha256, size]) => ({ sha256, size }));
  const limit = Math.max(MAX_OTHER_PACKS, missing.size);
  const fromIndexes = async () => missing.size && take(await elsewhere(store, keys, missing, warn));
  if (named.length > limit) await fromIndexes();
  if (missing.size) await take(named.slice(0, limit));
  if (missing.size && named.length <= limit) await fromIndexes();
  if (!missing.size && !unknown.length) return;
  if (damaged) throw damaged;
  const contents = new Set([...unknown, ...[...missing.values()].flat().map(({ content }) => content)]);
  throw gone(
    wanted.filter(({ sha256 }) => contents.has(sha256)).map(({ path }) => path),
    absent,
  );
}

function isDamaged(error: unknown): error is Problem {
  return error instanceof UnusableObject || (error instanceof Problem && error.code === 'PACK_MISMATCH');
}

function fromData(data: string, sha256: string, size: number): Buffer | null {
  try {
    const content = inflate(Buffer.from(data, 'base64'), size);
    return hash('sha256', content, 'hex') === sha256 ? content : null;
  } catch {
    // It may be had elsewhere.
    return null;
  }
}

/** Null where the records do not say how a content is put together. */
function recipeOf({ recipes }: StoredSnapshot, sha256: string, size: number): ChunkList | null {
  if (!Object.hasOwn(recipes, sha256)) return null;
  try {
    const chunks = ChunkList.decode(recipes[sha256]);
    return chunks.total === size ? chunks : null;
  } catch {
    return null;
  }
}

/** Packs that the indexes say hold chunks: what a manifest leaves out, others may have uploaded. */
async function elsewhere(
  store: Store,
  keys: StoreKeys,
  chunks: ReadonlyMap<string, Place[]>,
  warn: FetchOptions['warn'],
): Promise<PackName[]> {
  const index = new PackIndex(store, keys, undefined, warn);
  await index.refresh();
  const packs = new Map<string, PackName>();
  for (const chunk of chunks.keys()) {
    const pack = index.find(chunk);
    if (pack) packs.set(pack.sha256, pack);
  }
  return [...packs.values()];
}

/** The first error ends it. */
async function each<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = items[Symbol.iterator]();
  let failed = false;
  const one = async () => {
    for (let next = left.next(); !next.done && !failed; next = left.next()) await work(next.value);
  };
  await Promise.all(
    Array.from({ length: CONCURRENT_PACKS }, () =>
      one().catch((error: unknown) => {
        failed = true;
        throw error;
      }),
    ),
  );
}

function gone(paths: string[], absent: string[]): Problem {
  const some = paths.slice(0, MAX_NAMED).map(sanitizeForTerminal).join(', ');
  const more = paths.length > MAX_NAMED ? `, and ${paths.length - MAX_NAMED} more` : '';
  return new Problem(
    'CONTENTS_GONE',
    `The store lacks the contents of ${formatCount(paths.length, 'file')}: ${some}${more}.`,
    {
      next: absent.length
        ? `${formatCount(absent.length, 'pack')} of the snapshot ${absent.length === 1 ? 'is' : 'are'} missing: "nx-ec2 store prune" or a person removed ${absent.length === 1 ? 'it' : 'them'}.`
        : 'They were never in a pack: they were sent as an archive ("sync.transport"), which is deleted after use, or inside a command.',
    },
  );
}
