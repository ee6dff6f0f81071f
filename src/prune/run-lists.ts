import { z } from 'zod';
import { parseJson } from '../system/bounded';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const version = z.object({ v: z.number() });

/** Of a run's record, what it names: docs/FORMAT.md, "Runs in the store". All else may be as it likes. */
const record = z.object({
  v: z.literal(1),
  state: z.string(),
  snapshot: z.string(),
  checkpoints: z.array(z.object({ n: z.number().int().positive() })),
  restored: z.object({ run: z.string() }).nullable().default(null),
});
const list = z.object({ v: z.literal(1), files: z.array(z.object({ parts: z.array(sha256) })) });
const key = z.object({ v: z.literal(1), run: z.string() });

/** What was written by a later version of nx-ec2. */
export class NewerList extends Error {}

export interface RunNeeds {
  /** Nothing of it is written any more. */
  ended: boolean;
  /** The id of its code's snapshot. */
  snapshot: string;
  /** Numbers of the checkpoints that it names. */
  checkpoints: number[];
  /** The run that it was started from a checkpoint of. */
  restored: string | null;
}

/** Each throws an Error for what is not of its shape, `NewerList` for what is of a later version. */
export function parseRunRecord(bytes: Buffer): RunNeeds {
  const { state, snapshot, checkpoints, restored } = parse(bytes, record);
  return {
    ended: state === 'ended',
    snapshot,
    checkpoints: checkpoints.map(({ n }) => n),
    restored: restored?.run ?? null,
  };
}

/** The same, of what somebody has written under the name of a record. */
export function parseUnverified(bytes: Buffer): RunNeeds {
  const value = JSON.parse(bytes.toString('utf8')) as { v?: unknown; record?: unknown } | null;
  const { v, record: inner } = value ?? {};
  if (typeof v === 'number' && v > 2) throw new NewerList(`a record of version ${v}`);
  return parseRunRecord(inner === undefined ? bytes : Buffer.from(JSON.stringify(inner)));
}

/** The parts that `artifacts.json` or a checkpoint names. */
export function parseParts(bytes: Buffer): string[] {
  return parse(bytes, list).files.flatMap(({ parts }) => parts);
}

/** The run that an object under `key/` names. */
export function parseKey(bytes: Buffer): string {
  return parse(bytes, key).run;
}

function parse<T>(bytes: Buffer, schema: z.ZodType<T>): T {
  const value = parseJson(bytes);
  const { data } = version.safeParse(value);
  if (data && data.v > 1) throw new NewerList(`a list of version ${data.v}`);
  return schema.parse(value);
}
