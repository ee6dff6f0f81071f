/** A run, as its instance and the store tell of it. The descriptions are those of docs/reference/fields.md. */
import { z } from 'zod';
import { shown, text, word } from '../report/text-schema';
import { count, ms, runId, sha256 } from './values';

export const outcome = z.enum(['succeeded', 'failed', 'cancelled', 'timed-out', 'interrupted', 'setup-failed', 'lost']);

export const resources = z.object({
  exclusive: z.boolean().describe('The run waits until no other one uses the instance.'),
  gpus: count.describe('GPUs that the run has to itself.'),
});

export const price = z.object({
  perHour: z.number().positive().describe('USD.'),
  market: z.enum(['spot', 'on-demand']),
  where: text().describe('The zone of a spot price, else the region.'),
  date: text().describe('`yyyy-mm-dd` (UTC): the day on which it was the price.'),
  source: z.enum(['ec2', 'pricing', 'configured']),
});

export const runMetadata = z.object({
  git: z
    .object({ commit: text(), branch: text().nullable(), dirty: z.boolean(), remote: text().nullable().default(null) })
    .nullable(),
  command: text(65536).describe('The command line, as one would type it.'),
  recovery: z
    .enum(['client', 'command', 'fleet', 'none'])
    .default('none')
    .describe(
      'Who starts the next attempt if the run is interrupted: the client, or a fleet, if the spot instance is taken away; command: the same command, given again, on nodes that exist.',
    ),
  configuration: z
    .record(text(), shown)
    .describe('The settings that decide the result, as configured; no values of variables.'),
  host: text().describe('The machine of the client that started the run.'),
  price: price.nullable().default(null).describe('The price of an hour of the instance; null: not known.'),
});

/** How the training of a node ended. */
const nodeEnd = {
  exitCode: z.number().int().nullable(),
  signal: text().nullable(),
};

/** What a node of a run on several nodes says of itself. */
export const nodeState = z.object({
  rank: count,
  count: count.max(1000).describe('How many nodes the run has.'),
  address: text().describe('The private address of its instance.'),
  phase: z
    .enum(['preparing', 'ready', 'running', 'exited'])
    .describe(
      '`ready`: it waits until all nodes are; `exited`: its training has ended in this attempt, or never starts.',
    ),
  ...nodeEnd,
  at: ms.nullable().describe('When its training ended in this attempt; null: it has not.'),
  told: z.boolean().default(false).describe('Its training was stopped because that of another node had ended.'),
  failure: z
    .object({ code: text(), message: text(65536), exitCode: z.number().int().nullable().default(null) })
    .nullable()
    .default(null)
    .describe('How its training failed in this attempt, other than by its exit code.'),
  lines: z.array(text()).max(12).default([]).describe('The last lines of a training that failed.'),
});

/** The node that ended an attempt of all. */
export const failedNode = z.object({
  rank: count,
  instance: word.nullable().describe('null: of a node that was not started.'),
  ...nodeEnd,
  why: z
    .enum(['exited', 'failed', 'stopped', 'lost', 'missing'])
    .describe(
      '`exited`: its training did; `failed`: something else did; `stopped`: it was stopped by itself, as by a spot notice or its lifetime; `lost`: it sends no more heartbeats; `missing`: it was not started.',
    ),
});

/** What the instance and the store both say of a run. */
export const runFacts = {
  id: runId,
  project: text(),
  caller: text().describe('The ARN of the caller that started the run.'),
  instance: word,
  user: text().describe('The login name that the training runs as.'),
  directory: text().describe('The directory of the run on the instance.'),
  outcome: outcome.nullable().describe('null: the run has not ended.'),
  exitCode: z.number().int().nullable(),
  signal: text().nullable().describe('The signal that ended the training: `SIGKILL`.'),
  stop: z
    .object({ reason: text(), at: ms })
    .nullable()
    .describe(
      'Why the run was stopped: `cancelled`, `timeout`, or a reason that makes it `interrupted` (`shutdown`, `interruption`, `growth`, `superseded`, `lifetime`, `cost`, `deadline`, `hung`, or any other).',
    ),
  failure: z
    .object({ code: text(), message: text(65536), exitCode: z.number().int().nullable().default(null) })
    .nullable()
    .describe('A failure other than the exit code of the training: a code of [error-codes.md](error-codes.md).'),
  pid: count.nullable().describe('The process of the training.'),
  createdAt: ms,
  startedAt: ms.nullable(),
  endedAt: ms.nullable(),
  attempt: count.describe('The number of the current attempt, or of the last one.'),
  takenOver: z
    .object({ from: word, log: count })
    .nullable()
    .default(null)
    .describe('The instance of the attempt before, if it was another, and how many bytes of the log it had saved.'),
  queue: z
    .object({ before: count, holders: z.array(word).max(1000) })
    .nullable()
    .describe('While the run waits: how many runs are before it, and which runs have what it needs.'),
  resources,
  gpus: z.array(count).max(256).nullable().describe('The GPUs that the run has.'),
  launcher: z
    .object({ name: text(), processes: count })
    .nullable()
    .default(null)
    .describe('What has started the processes of the training, and how many; null: no launcher was configured.'),
  node: nodeState.nullable().default(null).describe('The node that this record is of; null: the run has one node.'),
  nodes: z
    .array(
      z.object({
        rank: count,
        instance: word,
        address: text(),
        heartbeat: count
          .nullable()
          .default(null)
          .describe('Of the last record of another node of a run that has succeeded: that node has saved all of it.'),
      }),
    )
    .max(1000)
    .default([])
    .describe(
      'In the record of the first node: the nodes of the current attempt, by their ranks. They start their training once this is written.',
    ),
  rendezvous: z
    .object({ port: count, masterPort: count })
    .nullable()
    .default(null)
    .describe("Ports of the first node, written with `nodes`: torchrun's, and that of `MASTER_PORT`."),
  nodeCheckpoints: z
    .array(z.object({ rank: count, n: count, sha256: sha256.describe('Of `checkpoint/<n>.json` of that node.') }))
    .max(1000)
    .default([])
    .describe(
      'In the record of the first node, written with `nodes`: what all nodes resume the current attempt from, one checkpoint of each node that has saved any; empty: nothing that an earlier attempt has saved.',
    ),
  wholeCheckpoint: sha256
    .nullable()
    .default(null)
    .describe(
      'Of `checkpoint/resume-<attempt>.json` of the run, which has the files of all of `nodeCheckpoints`; null: one node at most has saved any, or it could not be written.',
    ),
  failedNode: failedNode
    .nullable()
    .default(null)
    .describe('The node that ended the current attempt; null: none did, or the run has one node.'),
  warnings: z.array(text()).max(100).default([]).describe('About the end of the run, for the user.'),
};

/** A run, as its instance tells of it. A command of `remote-exec` has no run key and no snapshot. */
export const runState = z.object({
  ...runFacts,
  kind: z.enum(['training', 'exec']),
  runKey: z.union([word, z.literal('')]),
  tree: word,
  snapshot: z.union([word, z.literal('')]),
  state: z.enum(['preparing', 'queued', 'setup', 'running', 'ended']),
  supervisor: count.nullable().describe('The process of the supervisor.'),
  training: count.nullable().describe("The offset in the log at which the training's own output begins."),
});

export type Outcome = z.infer<typeof outcome>;
export type Resources = z.infer<typeof resources>;
export type Price = z.infer<typeof price>;
export type RunMetadata = z.infer<typeof runMetadata>;
export type NodeState = z.infer<typeof nodeState>;
export type RunState = z.infer<typeof runState>;
/** What both a run's state and its record say. */
export type RunFacts = Pick<RunState, keyof typeof runFacts | 'runKey' | 'tree' | 'snapshot'>;
