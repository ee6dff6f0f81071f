import { z } from 'zod';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { text, word } from '../report/text-schema';
import type { Operation, SyncReply } from './plan';

export const RUN_ID = /^\d{8}-\d{6}-[a-z0-9-]{1,60}-[a-z2-7]{6}$/;

export const count = z.number().int().nonnegative();
/** A time that a `Date` can hold. */
export const ms = z.number().nonnegative().max(8_640_000_000_000_000);

/** What the instance and the store both say of a run: docs/FORMAT.md, "Record". */
export const runFacts = {
  id: z.string().regex(RUN_ID),
  project: text(),
  caller: text(),
  instance: word,
  user: text(),
  directory: text(),
  outcome: z.enum(['succeeded', 'failed', 'cancelled', 'timed-out', 'interrupted', 'setup-failed', 'lost']).nullable(),
  exitCode: z.number().int().nullable(),
  signal: text().nullable(),
  stop: z.object({ reason: text(), at: ms }).nullable(),
  failure: z
    .object({ code: text(), message: text(65536), exitCode: z.number().int().nullable().default(null) })
    .nullable(),
  pid: count.nullable(),
  createdAt: ms,
  startedAt: ms.nullable(),
  endedAt: ms.nullable(),
  attempt: count,
  /** The instance that it was gone on with from, and how much of the log was saved there. */
  resumed: z.object({ from: word, log: count }).nullable().default(null),
  queue: z.object({ before: count, holders: z.array(word).max(1000) }).nullable(),
  claim: z.object({ exclusive: z.boolean(), gpus: count }),
  gpus: z.array(count).max(256).nullable(),
  /** About its end, for the user. */
  warnings: z.array(text()).max(100).default([]),
};

/** A command of `remote-exec` has no key, project, caller and snapshot. */
const run = z.object({
  ...runFacts,
  kind: z.enum(['training', 'exec']),
  key: z.union([word, z.literal('')]),
  tree: word,
  snapshot: z.union([word, z.literal('')]),
  state: z.enum(['preparing', 'queued', 'setup', 'running', 'ended']),
  supervisor: count.nullable(),
  training: count.nullable(),
});

const log = z.object({ offset: count, length: count, data: z.string(), size: count });
const report = z.object({ saved: z.boolean(), trouble: text(65536).nullable().optional() }).nullable();

const synced = {
  head: z.string(),
  written: count,
  deleted: count,
  bytes: count,
  healed: z.boolean(),
  restored: z.array(text()).max(1000),
  restoredCount: count,
  kept: text().nullable(),
  tree: text(),
  user: text(),
};

const SHAPES = {
  sync: z.object(synced),
  train: z.object({ ...synced, run, attached: z.union([z.literal(false), z.enum(['running', 'ended'])]), log }),
  watch: z.object({ ...synced, watch: z.object({ pid: count }) }),
  poll: z.object({ run, log, report }),
  cancel: z.object({ run, already: z.boolean() }),
  exec: z.object({ run, log }),
  renew: z.object({ run, report }),
  activity: z.object({ runs: z.array(text()).max(100_000), syncing: z.boolean() }),
  doctor: z.object({
    checks: z
      .array(z.object({ name: text(), ok: z.boolean().nullable(), detail: text(65536), fix: text(65536).nullable() }))
      .max(1000),
  }),
} satisfies Record<Operation['op'], z.ZodType>;

/**
 * What an instance replied to an operation, with the values that it may have. The instance is not believed: its reply
 * tells of the run that was asked about, there, or of one that is the same training.
 * @throws Problem `REPLY_INVALID`
 */
export function checkReply<T>(instance: string, operation: Operation, reply: object): T {
  const told = shaped(instance, operation.op, reply) as { run?: z.infer<typeof run>; attached?: false | string };
  if (told.run) {
    const { id, key, instance: on } = told.run;
    if (on !== instance) throw invalidReply(instance, `it tells of a run on ${on}`);
    if (operation.op === 'train' && key !== operation.run.key)
      throw invalidReply(instance, `it tells of ${id}, which is another training`);
    if (!told.attached && id !== askedRun(operation)) throw invalidReply(instance, `it tells of ${id}`);
  }
  return told as T;
}

/** What a watcher has acknowledged. @throws Problem `REPLY_INVALID` */
export function checkSynced(instance: string, reply: object): SyncReply {
  return shaped(instance, 'sync', reply) as SyncReply;
}

function shaped(instance: string, op: Operation['op'], reply: object): object {
  const parsed = SHAPES[op].safeParse(reply);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw invalidReply(instance, `${issue.path.join('.')}: ${issue.message}`);
}

/** The run that an operation is about. */
function askedRun(operation: Operation): string | null {
  if (operation.op === 'train') return operation.run.id;
  if (operation.op === 'exec') return operation.exec.id;
  return 'run' in operation ? operation.run : null;
}

export function invalidReply(instance: string, why: string): Problem {
  return new Problem('REPLY_INVALID', `The reply of ${instance} can't be used: ${printable(why).slice(0, 500)}.`, {
    next: 'Somebody who is root there may have changed it: look at what ran there, or use another instance.',
  });
}
