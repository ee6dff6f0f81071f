import { z } from 'zod';
import { duration } from '../syntax/units';

/** The keys of `train` for what is told of a training: its metrics, its report. */
export const metricsShape = {
  metrics: z
    .strictObject({
      file: z
        .string()
        .min(1)
        .optional()
        .describe('File of JSON lines that the training writes metrics to, relative to the project.'),
      idle: z
        .union([z.literal(false), duration])
        .prefault('10m')
        .describe('Warn after a GPU was idle for this time; false: never.'),
    })
    .prefault({})
    .describe(
      'Metrics: numbers that the training prints (JSON, dicts, `step 500 | loss 3.16`, progress bars), or writes to the event files of TensorBoard, `metrics.csv`, `results.csv`, `trainer_state.json` or a file of JSON lines.',
    ),
  report: z
    .boolean()
    .default(false)
    .describe(
      'Write artifacts/report.html, the page of `nx-ec2 runs report --html`, when remote-train has followed the training to its end, also one that failed, and when remote-pull fetches a run.',
    ),
};
