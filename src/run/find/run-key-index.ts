/** Which runs were started for a training: the objects below `key/` of docs/reference/formats.md. */
import { isRunId } from '../../schema/ids';
import { UnusableObject } from '../../store/objects/unusable';
import type { RunContext } from '../../context/types';
import { tryReadRecord, type RunRecord } from '../record/record';

type Stored = Pick<RunContext, 'store' | 'keys'>;

/** The runs that an object names. */
interface KeyObject {
  v: 1;
  /** The one that was started last. */
  run?: string;
  /** Those before it, the newest first, of which it was not known whether they had started. */
  earlier?: string[];
}

/** bytes */
const MAX_KEY_OBJECT_BYTES = 64 * 1024;
/** Clients that are killed between naming a run and starting it, one after another, before the first run is forgotten. */
const MAX_EARLIER = 16;

/** An object that names no run. */
const NO_NAME = { bytes: null, answered: Infinity, modified: 0 };

/** What the store says of a training: which run was started last, whatever became of it. */
export interface LastRun {
  /** null: none was. */
  run: string | null;
  record: RunRecord | null;
  /** How long ago it was named, ms; and what says whether another was since. */
  age: number;
  etag: string | null;
}

/** The runs of a training that the store may have a record of, the newest first. */
export async function runsForKey({ store, keys }: Stored, key: string): Promise<string[]> {
  // One that can't be read names no run: it only helps to find one.
  const bytes = await store.get(keys.key(key), MAX_KEY_OBJECT_BYTES).catch((error: unknown) => {
    if (error instanceof UnusableObject) return null;
    throw error;
  });
  return parseKeyObject(bytes);
}

/**
 * The run that was named last. A record that can't be read or verified is taken for absent. What is no name, or names a
 * run of another training, names none: anybody who can write to the bucket may have written it.
 */
export async function latestRunForKey({ store, keys }: Stored, key: string): Promise<LastRun> {
  const there = await store.getWithETag(keys.key(key), MAX_KEY_OBJECT_BYTES).catch((error: unknown) => {
    if (error instanceof UnusableObject) return { ...NO_NAME, etag: error.etag };
    throw error;
  });
  if (!there) return { run: null, record: null, age: Infinity, etag: null };
  const [named = null] = parseKeyObject(there.bytes);
  const read = named === null ? null : ((await tryReadRecord(store, keys, named))?.record ?? null);
  const isOther = read !== null && read.runKey !== key;
  const [run, record] = isOther ? [null, null] : [named, read];
  return { run, record, age: there.answered - there.modified, etag: there.etag };
}

/** Names a run as the one that is started for a training. @returns false where another client has named one since. */
export async function reserveRunKey(
  { store, keys }: Stored,
  key: string,
  run: string,
  { etag }: Pick<LastRun, 'etag'>,
): Promise<boolean> {
  return (await store.compareAndSwap(keys.key(key), keyObject({ run }), etag)) !== null;
}

/** Removes a run that was not started, so that the next client does not wait for it. A failure is ignored: the client then waits. */
export async function releaseRunKey({ store, keys }: Stored, key: string, run: string): Promise<void> {
  try {
    const there = await store.getWithETag(keys.key(key), MAX_KEY_OBJECT_BYTES);
    if (there && parseKeyObject(there.bytes)[0] === run)
      await store.compareAndSwap(keys.key(key), keyObject({}), there.etag);
  } catch {
    // It is waited for.
  }
}

/**
 * Names a run that is about to be started. Whether one that was named before has started may not be known yet, and this
 * one may turn out to be the same: it stays named. It only helps to find: that it fails is no failure.
 */
export async function announceRun({ store, keys }: Stored, key: string, run: string): Promise<void> {
  const named = await runsForKey({ store, keys }, key).catch(() => []);
  const earlier = named.filter((each) => each !== run).slice(0, MAX_EARLIER);
  await put({ store, keys }, key, { run, earlier });
}

/** Writes down which run was started last for a training. It only helps to find: that it fails is no failure. */
export async function indexRunKey({ store, keys }: Stored, key: string, run: string): Promise<void> {
  await put({ store, keys }, key, { run });
}

async function put({ store, keys }: Stored, key: string, names: Omit<KeyObject, 'v'>): Promise<void> {
  await store.put(keys.key(key), keyObject(names), { contentType: 'application/json' }).catch(() => undefined);
}

function keyObject(names: Omit<KeyObject, 'v'>): Buffer {
  return Buffer.from(JSON.stringify({ v: 1, ...names } satisfies KeyObject));
}

/** The runs that an object below `key/` names; none where it can't be read. */
function parseKeyObject(bytes: Buffer | null): string[] {
  try {
    const { run, earlier } = JSON.parse(bytes?.toString() ?? '{}') as { run?: unknown; earlier?: unknown };
    const named = [run, ...(Array.isArray(earlier) ? earlier.slice(0, MAX_EARLIER) : [])];
    return named.filter((each): each is string => typeof each === 'string' && isRunId(each));
  } catch {
    return [];
  }
}
