/** A run's record in the store. The descriptions are those of docs/reference/fields.md. */
import { z } from 'zod';
import { shown, text, word } from '../report/text-schema';
import { price, runFacts, runMetadata } from './run';
import { count, instanceId, ms, runId, sha256 } from './values';

export const savedCheckpoint = z.object({
  n: z.number().int().positive(),
  unit: text(),
  sha256: sha256.describe('Of `checkpoint/<n>.json`.'),
  size: count,
  files: count,
  at: ms,
  attempt: count,
});

const amount = z.number().nullable().default(null);

export const hostSample = z.object({
  cpu: amount.describe('%.'),
  cores: amount,
  load: amount,
  memoryUsed: amount,
  memoryTotal: amount,
  diskUsed: amount,
  diskTotal: amount,
  networkIn: amount.describe('Bytes a second.'),
  networkOut: amount.describe('Bytes a second.'),
});

export const gpuSample = z.object({
  index: count,
  name: text(),
  utilization: amount.describe('%.'),
  memoryUsed: amount,
  memoryTotal: amount,
  temperature: amount.describe('°C.'),
  power: amount.describe('W.'),
});

export const runAttempt = z.object({
  n: count,
  instance: instanceId,
  startedAt: ms.nullable(),
  endedAt: ms.nullable(),
  exitCode: z.number().int().nullable(),
  signal: text().nullable(),
  why: text().nullable().describe('Why there was another attempt; null: there was none.'),
  price: price.nullable().default(null).describe('Of an instance that the run has left; null: as `metadata.price`.'),
  nodes: count.nullable().default(null).describe('How many nodes the attempt had; null: the run has one.'),
});

export const fetchedDataset = z.object({
  source: text(),
  path: text(),
  version: text(),
  files: count,
  bytes: count,
});

export const runRecord = z.object({
  ...runFacts,
  v: z.literal(1),
  instance: instanceId,
  runKey: word.describe('The hash of everything that decides the result: equal for equal trainings.'),
  tree: word,
  snapshot: word,
  state: z.enum(['preparing', 'queued', 'setup', 'running', 'saving', 'ended']),
  since: ms.nullable().default(null).describe('When the current attempt, or the last one, began.'),
  attempts: z.array(runAttempt).max(1000).describe('The attempts before the current one.'),
  takenOver: z
    .object({ from: instanceId, log: count })
    .nullable()
    .default(null)
    .describe('The instance of the attempt before, if it was another, and how many bytes of the log it had saved.'),
  log: z.object({
    size: count.describe('Bytes of the log that are in the store.'),
    training: count.nullable().describe("The offset at which the training's own output begins."),
    truncated: z.boolean(),
    hashes: z
      .object({ folded: count, chain: sha256, segments: z.array(sha256).max(1024) })
      .nullable()
      .default(null)
      .describe(
        'SHA-256 of the segments from number `folded` on, the last one as far as `size`; `chain` covers those before.',
      ),
  }),
  metrics: z.object({
    host: hostSample.nullable(),
    gpus: z.array(gpuSample).max(256).nullable(),
    training: z.record(text(), z.number().nullable()).describe('The last value of each metric; null: not finite.'),
    progress: z
      .object({ name: text(), value: z.number(), secondsPerStep: z.number().nullable() })
      .nullable()
      .default(null)
      .describe('The metric that counts the steps, and how long a step takes; null: the training counts none.'),
    segments: count,
    sources: z
      .array(text())
      .max(16)
      .default([])
      .describe('Texts that say where the metrics of the training are read from: the log, files.'),
    warnings: z.array(text()).max(1000),
  }),
  checkpoints: z.array(savedCheckpoint).max(1000).describe('The checkpoints that are kept, oldest first.'),
  artifacts: z
    .object({
      state: z.enum(['saved', 'failed']),
      sha256: sha256.nullable().default(null).describe('Of `artifacts.json`.'),
      files: count.nullable().default(null),
      bytes: count.nullable().default(null),
      unsaved: count.default(0).describe('Files of outputs that are on the instance alone.'),
      extra: z.object({ files: count, bytes: count, unsaved: count }).nullable().default(null),
      error: z
        .object({ code: text(), message: text(65536), detail: z.record(text(), shown).default({}) })
        .nullable()
        .default(null),
    })
    .nullable(),
  datasets: z.array(fetchedDataset).max(1000),
  restoredFrom: z
    .object({ run: runId, n: count, unit: text() })
    .nullable()
    .default(null)
    .describe('The checkpoint that the current attempt began with.'),
  metadata: runMetadata,
  heartbeat: count.describe('Grows with each write of the record.'),
  heartbeatPort: count
    .max(65535)
    .nullable()
    .default(null)
    .describe(
      'In the record of the first node of several: the port, at `node.address`, to which the others connect to tell that they are there. null: none.',
    ),
  access: z.enum(['role', 'presigned']).describe('How the instance writes to the store.'),
  trouble: text().nullable().describe("What can't be saved, and why."),
});

export type SavedCheckpoint = z.infer<typeof savedCheckpoint>;
export type RunRecord = z.infer<typeof runRecord>;
