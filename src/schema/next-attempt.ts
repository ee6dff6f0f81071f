import { z } from 'zod';
import { count } from './values';

const text = z.string();

/** The attempt with which an instance continues a run. */
export const nextAttempt = z.object({
  attempt: count,
  heartbeat: count,
  terminated: z
    .object({ instance: text, attempt: count })
    .optional()
    .describe(
      'EC2 has told the client that this instance is terminated. If the record is of this attempt on it, it is not waited until the record is 60 s old.',
    ),
  waiting: z
    .object({ instance: text, attempt: count, heartbeat: count })
    .optional()
    .describe(
      'The run waits on this instance, which holds it after this very record. It is taken over from this record or not at all, and trains only after the store has the record of the instance that takes it over.',
    ),
});
