import { z } from 'zod';
import { isRunId } from '../schema/ids';
import { parseJson } from '../system/bounded';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const version = z.object({ v: z.number() });

/** Of a run's record, what it names: docs/reference/formats.md, "Runs in the store". All else may be as it likes. */
const record = z.object({
  v: z.literal(1),
  state: z.string(),
  snapshot: z.string(),
  checkpoints: z.array(z.object({ n: z.number().int().positive(), sha256: sha256.optional() })),
  artifacts: z.object({ sha256: sha256.nullish() }).nullish(),
  restoredFrom: z.object({ run: z.string() }).nullable().default(null),
});
/**
 * What is looked for in a record that can't be verified. Anybody may have written any number of them, and all that they
 * name is in memory at once: a text that is no id is left out.
 */
const named = z.object({
  snapshot: sha256.catch(''),
  restoredFrom: z
    .object({ run: z.string().refine(isRunId) })
    .nullable()
    .catch(null),
});
const list = z.object({ v: z.literal(1), files: z.array(z.object({ parts: z.array(sha256) })) });
const key = z.object({ v: z.literal(1), run: z.string(), earlier: z.array(z.string()).default([]) });

/** What was written by a later version of nx-ec2. */
export class NewerList extends Error {}

export interface RunNeeds {
  /** Whether the run's record bears its signature. */
  isVerified: boolean;
  /** Nothing of it is written any more. */
  ended: boolean;
  /** The id of its code's snapshot. */
  snapshot: string;
  /** Numbers of the checkpoints that it names. */
  checkpoints: number[];
  /** SHA-256 of the lists that it names, by their names below the run's prefix. */
  lists: Map<string, string>;
  /** The run that it was started from a checkpoint of. */
  restoredFrom: string | null;
}

/** Each throws an Error for what is not of its shape, `NewerList` for what is of a later version. */
export function parseRunRecord(bytes: Buffer): RunNeeds {
  const { state, snapshot, checkpoints, artifacts, restoredFrom } = parse(bytes, record);
  const lists = checkpoints.map(({ n, sha256 }) => [`checkpoint/${n}.json`, sha256] as const);
  return {
    isVerified: true,
    ended: state === 'ended',
    snapshot,
    checkpoints: checkpoints.map(({ n }) => n),
    lists: new Map(
      [...lists, ['artifacts.json', artifacts?.sha256] as const].flatMap(([name, hash]) =>
        hash ? [[name, hash]] : [],
      ),
    ),
    restoredFrom: restoredFrom?.run ?? null,
  };
}

/**
 * What somebody has written under the name of a record, of whatever version: the version of a record counts only where
 * the run's signature covers it. What it names in the known places is kept.
 */
export function parseUnverified(bytes: Buffer): RunNeeds {
  const value = parseJson(bytes) as { record?: unknown } | null;
  const { snapshot, restoredFrom } = named.parse(value?.record ?? value);
  return {
    isVerified: false,
    ended: false,
    snapshot,
    checkpoints: [],
    lists: new Map(),
    restoredFrom: restoredFrom?.run ?? null,
  };
}

/** The parts that `artifacts.json` or a checkpoint names. */
export function parseParts(bytes: Buffer): string[] {
  return parse(bytes, list).files.flatMap(({ parts }) => parts);
}

/** The runs that an object under `key/` names. */
export function parseKey(bytes: Buffer): string[] {
  const { run, earlier } = parse(bytes, key);
  return [run, ...earlier];
}

function parse<T>(bytes: Buffer, schema: z.ZodType<T>): T {
  const value = parseJson(bytes);
  const { data } = version.safeParse(value);
  if (data && data.v > 1) throw new NewerList(`a list of version ${data.v}`);
  return schema.parse(value);
}
