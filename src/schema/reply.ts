/** What the runtime replies to each operation. The descriptions are those of docs/reference/fields.md. */
import { z } from 'zod';
import { text, word } from '../report/text-schema';
import { runState } from './run';
import { count } from './values';

export const logPiece = z.object({
  offset: count,
  length: count.describe('Bytes of the log in `data`.'),
  data: z.string().describe('zlib, base64.'),
  size: count.describe('Bytes that the log has.'),
});

export const runReport = z.object({
  saved: z.boolean().describe('The store has all of the run.'),
  heartbeat: count.optional().describe('How often the reporter has written, or tried to write, the record.'),
  trouble: text(65536).nullable().optional().describe('Why the store could not be written last.'),
  gaveUp: count
    .nullable()
    .optional()
    .describe('When the reporter ended because the store had refused it for 10 minutes after the end of the run.'),
});

export const syncReply = z.object({
  head: z.string().describe('The snapshot that the tree holds.'),
  written: count,
  deleted: count,
  bytes: count,
  healed: z.boolean().describe('The tree held another snapshot than the base.'),
  reverted: z
    .array(text())
    .max(1000)
    .describe('The first 20 paths of synced files that had been changed and were put back.'),
  revertedCount: count,
  kept: text().nullable().describe('The directory that holds what was changed.'),
  tree: text().describe('The path of the files.'),
  user: text(),
});

export const trainReply = z.object({
  ...syncReply.shape,
  run: runState,
  attached: z
    .union([z.literal(false), z.enum(['running', 'ended'])])
    .describe('Whether `run` is a run that was found instead of one that was started.'),
  log: logPiece,
});

export const watchReply = z.object({ ...syncReply.shape, watch: z.object({ pid: count }) });
export const pollReply = z.object({ run: runState, log: logPiece, report: runReport.nullable() });
export const cancelReply = z.object({ run: runState, already: z.boolean().describe('The run had ended before.') });
export const holdReply = z.object({
  run: runState,
  held: count
    .nullable()
    .describe(
      'The run gets no turn for 30 s, and this is the heartbeat of its record in the store until then; null: it does not wait, is held already, or is saved by a presigned form.',
    ),
});
export const execReply = z.object({ run: runState, log: logPiece });
export const renewReply = z.object({ run: runState, report: runReport.nullable() });

export const activityReply = z.object({
  runs: z.array(text()).max(100_000).describe('Runs and commands that run, or whose results are still being saved.'),
  syncing: z.boolean(),
  queue: z
    .object({
      gpus: count.describe('How many GPUs the instance has.'),
      tickets: z
        .array(
          z.object({
            run: word,
            exclusive: z.boolean(),
            gpus: count,
            priority: z.number().int(),
            granted: z.boolean().describe('Whether the run has its turn.'),
          }),
        )
        .max(100_000),
    })
    .nullable()
    .describe('All runs that have resources or wait for them; null: it was not asked for.'),
});

export const readyReply = z.object({
  missing: z
    .object({ tool: text(), why: text(65536), fix: text(65536) })
    .nullable()
    .describe("The tool that the instance lacks and can't fetch."),
  free: count.describe('Bytes free on the disk of the root.'),
});

export const doctorCheck = z.object({
  name: text(),
  ok: z.boolean().nullable().describe('null: not decided.'),
  detail: text(65536),
  fix: text(65536).nullable(),
});

export const doctorReply = z.object({ checks: z.array(doctorCheck).max(1000) });

export const REPLIES = {
  sync: syncReply,
  train: trainReply,
  watch: watchReply,
  poll: pollReply,
  cancel: cancelReply,
  hold: holdReply,
  exec: execReply,
  renew: renewReply,
  activity: activityReply,
  ready: readyReply,
  doctor: doctorReply,
};

export type LogPiece = z.infer<typeof logPiece>;
export type RunReport = z.infer<typeof runReport>;
export type SyncReply = z.infer<typeof syncReply>;
export type TrainReply = z.infer<typeof trainReply>;
export type WatchReply = z.infer<typeof watchReply>;
export type PollReply = z.infer<typeof pollReply>;
export type HoldReply = z.infer<typeof holdReply>;
export type ActivityReply = z.infer<typeof activityReply>;
export type ReadyReply = z.infer<typeof readyReply>;
export type Check = z.infer<typeof doctorCheck>;
