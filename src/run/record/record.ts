import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { contradictionIn } from '../../schema/contradiction';
import { RUN_ID } from '../../schema/ids';
import { runRecord, type RunRecord, type SavedCheckpoint } from '../../schema/run-record';
import type { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';
import type { RunName } from '../../store/signing-keys';
import { openSigned, RecordUnverified } from './signed-record';
import { StoreUnreadable } from '../../store/objects/unusable';

/** A record has a few kilobytes; a larger one is not from nx-ec2. */
export const MAX_RECORD_BYTES = 1024 * 1024;
/** Records that are read at once, and at most, to find a caller's latest run. */
const CONCURRENCY = 8;
const MAX_RECORDS = 64;
/** The same with those that can't be read or verified, which anybody may have written who can write to the bucket. */
export const MAX_READ_RECORDS = 1024;
/** A project has so many runs in the store at the most. */
const MAX_RUNS = 500_000;

declare const verified: unique symbol;
/** One that bears the signature of its run, made by `verifyRecord` alone. */
export type VerifiedRecord = RunRecord & { readonly [verified]: true };
export type { RunRecord, SavedCheckpoint };

export interface ReadRecord {
  record: VerifiedRecord;
  /** How long ago it was written, ms, by S3's clock alone. */
  age: number;
  /** When it was written, ms since the epoch, by S3's clock. */
  written: number;
  etag: string;
}

/**
 * A run's record as it is in the store; null where there is none. Its signature and its shape are checked; its texts are
 * bounded and safe to print.
 * @throws Problem `RECORD_UNVERIFIED` where it does not bear the run's signature, `RECORD_INVALID` where it is not a
 * record of this run that we can read.
 */
export function readRecord(store: Store, keys: StoreKeys, id: string): Promise<ReadRecord | null> {
  return readNodeRecord(store, keys, id, 0);
}

/** Like `readRecord`, of one node of a run on several, by its rank. The first one's record is the run's. */
export async function readNodeRecord(
  store: Store,
  keys: StoreKeys,
  id: string,
  rank: number,
): Promise<ReadRecord | null> {
  const key = `${keys.node(id, rank)}record.json`;
  const stored = await store.getWithETag(key, MAX_RECORD_BYTES).catch((error: unknown) => {
    throw unverifiedIfUnreadable(id, error);
  });
  if (!stored) return null;
  const age = Math.max(0, stored.answered - stored.modified);
  try {
    return {
      record: await verifyRecord(store, { keys, run: id, node: rank }, stored.bytes),
      age,
      written: stored.modified,
      etag: stored.etag,
    };
  } catch (error) {
    if (error instanceof RecordUnverified) error.age = age;
    throw error;
  }
}

/** Of a record that S3 does not return, nobody knows what it says: anybody may have written it who can write to the bucket. */
export function unverifiedIfUnreadable(id: string, error: unknown): unknown {
  if (!(error instanceof StoreUnreadable)) return error;
  const { aws, next = '', age } = error;
  const why = `S3 does not return it (${aws?.code})`;
  return Object.assign(new RecordUnverified(id, why, next, { aws }), { age });
}

/** The same; null for one that can't be read or verified: it is taken for absent. @param rank of a node; absent: the run's */
export function tryReadRecord(store: Store, keys: StoreKeys, id: string, rank = 0): Promise<ReadRecord | null> {
  return readNodeRecord(store, keys, id, rank).catch((error: unknown) => {
    if (isUnreadable(error)) return null;
    throw error;
  });
}

/** Whether a record is there, and is not one that we can read or verify. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof Problem && /^(RECORD_INVALID|RECORD_UNVERIFIED|STORE_TOO_LARGE)$/.test(error.code);
}

/**
 * The record of a run in bytes that anybody may have written who can write to the bucket.
 * @throws Problem `RECORD_UNVERIFIED`, `RECORD_INVALID`
 */
export async function verifyRecord(store: Store, name: RunName, bytes: Buffer): Promise<VerifiedRecord> {
  const { keys, run: id, node = 0 } = name;
  const key = `${keys.node(id, node)}record.json`;
  const record = parseRecord(await openSigned(store.signingKeys, name, bytes), id, key);
  // Root on the instance has the key that signs.
  const contradiction = contradictionIn(record);
  if (contradiction !== null) throw invalid(key, sanitizeForTerminal(`its run ${contradiction}`).slice(0, 500));
  const seen = await store.signingKeys.seen(name);
  if (seen && isOlder(record, { attempt: seen[0], heartbeat: seen[1] })) throw replayed(record, seen);
  return record as VerifiedRecord;
}

/** Whether a record was written before another of the same run. */
export function isOlder(
  one: Pick<RunRecord, 'attempt' | 'heartbeat'>,
  other: Pick<RunRecord, 'attempt' | 'heartbeat'>,
): boolean {
  return one.attempt < other.attempt || (one.attempt === other.attempt && one.heartbeat < other.heartbeat);
}

export function replayed(
  { id, attempt, heartbeat, instance }: RunRecord,
  [seenAttempt, seenHeartbeat]: [number, number],
): Problem {
  return new RecordUnverified(
    id,
    `it is older (attempt ${attempt}, heartbeat ${heartbeat}) than one that this machine has seen (attempt ${seenAttempt}, heartbeat ${seenHeartbeat})`,
    'An old record was put back: check who may write to the bucket. An active run writes a new one within 10 s.',
    { instance },
  );
}

/** The shape alone: what decides anything is a `VerifiedRecord`. */
export function parseRecord(bytes: Buffer, id: string, key: string): RunRecord {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw invalid(key, 'it is not valid JSON');
  }
  const { v } = (value ?? {}) as { v?: unknown };
  if (typeof v === 'number' && v > 1) {
    throw new Problem('RECORD_INVALID', `The record of ${id} was written by a later version of nx-ec2.`, {
      next: 'Update nx-ec2.',
    });
  }
  const parsed = runRecord.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw invalid(key, sanitizeForTerminal(`${issue.path.join('.')}: ${issue.message}`).slice(0, 500));
  }
  if (parsed.data.id !== id) throw invalid(key, `it belongs to ${sanitizeForTerminal(parsed.data.id)}`);
  return parsed.data;
}

function invalid(key: string, why: string): Problem {
  return new Problem('RECORD_INVALID', `The record ${key} can't be read: ${why}.`, {
    next: 'Another program is writing to this prefix, or the run was started by another version of nx-ec2.',
  });
}

/** A run, or one of its nodes. */
export interface NodeOfRun {
  id: string;
  node?: { rank: number } | null;
}

/** The prefix of what a run has in the store, or one of its nodes, whose record it is. */
export function prefixOfRecord(keys: StoreKeys, { id, node }: NodeOfRun): string {
  return keys.node(id, node?.rank ?? 0);
}

/** The ids of the project's runs that are in the store, newest first. */
export async function listRuns(store: Store, keys: StoreKeys): Promise<string[]> {
  const names = await store.listDirectories(keys.run(''), MAX_RUNS);
  return names.filter((name) => RUN_ID.test(name)).sort((a, b) => (a < b ? 1 : -1));
}

/**
 * The ids of runs that were started since a time, in their order: the first ones, where there are more. Anybody who writes
 * to the bucket can make up as many as they like.
 * @param since what the ids of runs that were started then begin with. @returns isPartial: there are more.
 */
export async function listRunsSince(
  store: Store,
  keys: StoreKeys,
  since: string,
  limit: number,
): Promise<{ runs: string[]; isPartial: boolean }> {
  const { names, isPartial } = await store.listFirstDirectories(keys.run(''), limit, since);
  return { runs: names.filter((name) => RUN_ID.test(name) && name >= since), isPartial };
}

/**
 * The newest run, or with `isMeant` the newest that it accepts among the newest 64; null where there is none. A record
 * that can't be read or verified is taken for absent and passed over, up to 1,024 in all.
 */
export async function latestRun(
  store: Store,
  keys: StoreKeys,
  isMeant?: (record: RunRecord) => boolean,
): Promise<ReadRecord | null> {
  const ids = (await listRuns(store, keys)).slice(0, MAX_READ_RECORDS);
  const step = isMeant === undefined ? 1 : CONCURRENCY;
  let verified = 0;
  for (let from = 0; from < ids.length && verified < MAX_RECORDS; from += step) {
    const read = await Promise.all(ids.slice(from, from + step).map((id) => tryReadRecord(store, keys, id)));
    verified += read.filter((each) => each !== null).length;
    const found = read.flatMap((each) => (each && (isMeant === undefined || isMeant(each.record)) ? [each] : []));
    // By the id, which the client has signed: an instance could give its run any other time.
    if (found.length) return found[0];
  }
  return null;
}
