import { z } from 'zod';
import { count, ms, RUN_ID, runFacts } from '../command/reply-shapes';
import { isResourceId } from '../instance/stop/resource-id';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { shown, text, word } from '../report/text-schema';
import type { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import { openSigned, RecordUnverified } from './signed-record';

/** A record is a few kilobytes; a larger one is nobody's we know. */
export const MAX_RECORD = 1024 * 1024;
/** Records that are read at once, and at most, to find a caller's latest run. */
const AT_ONCE = 8;
const LOOKED_AT = 64;
/** The same with those that can't be read or verified, which anybody may have written who can write to the bucket. */
export const MOST_LOOKED_AT = 1024;
/** A project has so many runs in the store at the most. */
const MAX_RUNS = 500_000;

/** Whether a text has the shape of a run's id: any other is no part of a key. */
export function isRunId(text: string): boolean {
  return RUN_ID.test(text);
}

const instanceId = z.string().refine((id) => isResourceId('instance', id), 'is no id of an instance');
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const numbers = z.record(text(), z.number().nullable());

const savedCheckpoint = z.object({
  n: z.number().int().positive(),
  unit: text(),
  sha256,
  size: count,
  files: count,
  at: ms,
  attempt: count,
});

const amount = z.number().nullable().default(null);

/** A sample of the machine: what is not known is null. Sizes are bytes, shares %. */
const host = z.object({
  cpu: amount,
  cores: amount,
  load: amount,
  memoryUsed: amount,
  memoryTotal: amount,
  diskUsed: amount,
  diskTotal: amount,
  networkIn: amount,
  networkOut: amount,
});

/** °C, W. */
const gpu = z.object({
  index: count,
  name: text(),
  utilization: amount,
  memoryUsed: amount,
  memoryTotal: amount,
  temperature: amount,
  power: amount,
});

const price = z
  .object({
    perHour: z.number().positive(),
    market: z.enum(['spot', 'on-demand']),
    where: text(),
    date: text(),
    source: z.enum(['ec2', 'pricing', 'configured']),
  })
  .nullable()
  .default(null);

/** What the client said of itself. */
const description = z.object({
  git: z
    .object({ commit: text(), branch: text().nullable(), dirty: z.boolean(), remote: text().nullable().default(null) })
    .nullable(),
  command: text(65536),
  recovery: z.enum(['client', 'fleet', 'none']).default('none'),
  configuration: z.record(text(), shown),
  host: text(),
  price,
});

const recordSchema = z.object({
  ...runFacts,
  v: z.literal(1),
  instance: instanceId,
  key: word,
  tree: word,
  snapshot: word,
  state: z.enum(['preparing', 'queued', 'setup', 'running', 'saving', 'ended']),
  /** When the attempt began that is under way or was the last. */
  since: ms.nullable().default(null),
  attempts: z
    .array(
      z.object({
        n: count,
        instance: instanceId,
        startedAt: ms.nullable(),
        endedAt: ms.nullable(),
        exitCode: z.number().int().nullable(),
        signal: text().nullable(),
        why: text().nullable(),
        /** Of an instance that the run is no more on; null: as the last one's. */
        price,
      }),
    )
    .max(1000),
  /** The instance that it was gone on with from, and how much of the log was saved there. */
  resumed: z.object({ from: instanceId, log: count }).nullable().default(null),
  log: z.object({
    size: count,
    training: count.nullable(),
    truncated: z.boolean(),
    /** SHA-256 of its segments, the last one as far as `size`; `chain` is of the first `folded` of them, in one. */
    hashes: z
      .object({ folded: count, chain: sha256, segments: z.array(sha256).max(1024) })
      .nullable()
      .default(null),
  }),
  metrics: z.object({
    host: host.nullable(),
    gpus: z.array(gpu).max(256).nullable(),
    training: numbers,
    segments: count,
    warnings: z.array(text()).max(1000),
  }),
  /** Those that are kept, oldest first. */
  checkpoints: z.array(savedCheckpoint).max(1000),
  artifacts: z
    .object({
      state: z.enum(['saved', 'failed']),
      sha256: sha256.nullable().default(null),
      files: count.nullable().default(null),
      bytes: count.nullable().default(null),
      extra: z.object({ files: count, bytes: count, unsaved: count }).nullable().default(null),
      error: z
        .object({ code: text(), message: text(65536), detail: z.record(text(), shown).default({}) })
        .nullable()
        .default(null),
    })
    .nullable(),
  data: z.array(z.object({ source: text(), path: text(), version: text(), files: count, bytes: count })).max(1000),
  restored: z
    .object({ run: z.string().regex(RUN_ID), n: count, unit: text() })
    .nullable()
    .default(null),
  description,
  beat: count,
  access: z.enum(['role', 'presigned']),
  trouble: text().nullable(),
});

/** docs/FORMAT.md, "Runs in the store": what the instance says of a run. */
export type RunRecord = z.infer<typeof recordSchema>;
declare const verified: unique symbol;
/** One that bears the signature of its run, made by `verifyRecord` alone. */
export type VerifiedRecord = RunRecord & { readonly [verified]: true };
export type SavedCheckpoint = z.infer<typeof savedCheckpoint>;

export interface ReadRecord {
  record: VerifiedRecord;
  /** How long ago it was written, ms, by S3's clock alone. */
  age: number;
  etag: string;
}

/**
 * A run's record as it is in the store; null where there is none. Its signature and its shape are checked; its texts are
 * bounded and safe to print.
 * @throws Problem `RECORD_UNVERIFIED` where it does not bear the run's signature, `RECORD_INVALID` where it is not a
 * record of this run that we can read.
 */
export async function readRecord(store: Store, keys: StoreKeys, id: string): Promise<ReadRecord | null> {
  const key = `${keys.run(id)}record.json`;
  const stored = await store.getVersion(key, MAX_RECORD);
  if (!stored) return null;
  const age = Math.max(0, stored.answered - stored.modified);
  try {
    return { record: await verifyRecord(store, keys, id, stored.bytes), age, etag: stored.etag };
  } catch (error) {
    if (error instanceof RecordUnverified) error.age = age;
    throw error;
  }
}

/** The same; null for one that can't be read or verified: it is taken for absent. */
export function readOrNobodys(store: Store, keys: StoreKeys, id: string): Promise<ReadRecord | null> {
  return readRecord(store, keys, id).catch((error: unknown) => {
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
export async function verifyRecord(store: Store, keys: StoreKeys, id: string, bytes: Buffer): Promise<VerifiedRecord> {
  const name = { keys, run: id };
  const record = parseRecord(await openSigned(store.recordKeys, name, bytes), id, `${keys.run(id)}record.json`);
  const seen = await store.recordKeys.seen(name);
  if (seen && isOlder(record, { attempt: seen[0], beat: seen[1] })) throw replayed(record, seen);
  return record as VerifiedRecord;
}

/** Whether a record was written before another of the same run. */
export function isOlder(one: Pick<RunRecord, 'attempt' | 'beat'>, other: Pick<RunRecord, 'attempt' | 'beat'>): boolean {
  return one.attempt < other.attempt || (one.attempt === other.attempt && one.beat < other.beat);
}

export function replayed(
  { id, attempt, beat, instance }: RunRecord,
  [seenAttempt, seenBeat]: [number, number],
): Problem {
  return new RecordUnverified(
    id,
    `it is older (attempt ${attempt}, beat ${beat}) than one that this machine has seen (attempt ${seenAttempt}, beat ${seenBeat})`,
    'Somebody has put an old record back: look at who may write to the bucket. A run that is alive writes a new one within 10 s.',
    { instance },
  );
}

/** The shape alone: what decides anything is a `VerifiedRecord`. */
export function parseRecord(bytes: Buffer, id: string, key: string): RunRecord {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw invalid(key, 'it is no JSON');
  }
  const { v } = (value ?? {}) as { v?: unknown };
  if (typeof v === 'number' && v > 1) {
    throw new Problem('RECORD_INVALID', `The record of ${id} was written by a later version of nx-ec2.`, {
      next: 'Update nx-ec2.',
    });
  }
  const parsed = recordSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw invalid(key, printable(`${issue.path.join('.')}: ${issue.message}`).slice(0, 500));
  }
  if (parsed.data.id !== id) throw invalid(key, `it is that of ${printable(parsed.data.id)}`);
  return parsed.data;
}

function invalid(key: string, why: string): Problem {
  return new Problem('RECORD_INVALID', `The record ${key} can't be read: ${why}.`, {
    next: 'Somebody else writes to the store, or the run was started by another version of nx-ec2.',
  });
}

/** The ids of the project's runs that are in the store, newest first. */
export async function listRuns(store: Store, keys: StoreKeys): Promise<string[]> {
  const names = await store.prefixes(keys.run(''), MAX_RUNS);
  return names.filter((name) => RUN_ID.test(name)).sort((a, b) => (a < b ? 1 : -1));
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
  const ids = (await listRuns(store, keys)).slice(0, MOST_LOOKED_AT);
  const step = isMeant === undefined ? 1 : AT_ONCE;
  let verified = 0;
  for (let from = 0; from < ids.length && verified < LOOKED_AT; from += step) {
    const read = await Promise.all(ids.slice(from, from + step).map((id) => readOrNobodys(store, keys, id)));
    verified += read.filter((each) => each !== null).length;
    const found = read.flatMap((each) => (each && (isMeant === undefined || isMeant(each.record)) ? [each] : []));
    // By the id, which the client has signed: an instance could give its run any other time.
    if (found.length) return found[0];
  }
  return null;
}
