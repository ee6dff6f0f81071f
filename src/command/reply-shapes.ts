import type { z } from 'zod';
import { Problem } from '../report/problem';
import { sanitizeForTerminal } from '../report/terminal-text';
import { REPLIES } from '../schema/reply';
import type { runState } from '../schema/run';
import type { Operation, SyncReply } from './plan';

/**
 * What an instance replied to an operation, with the values that it may have. The instance is not believed: its reply
 * tells of the run that was asked about, there, or of one that is the same training.
 * @throws Problem `REPLY_INVALID`
 */
export function checkReply<T>(instance: string, operation: Operation, reply: object): T {
  const told = shaped(instance, operation.op, reply) as { run?: z.infer<typeof runState>; attached?: false | string };
  if (told.run) {
    const { id, runKey: key, instance: on } = told.run;
    if (on !== instance) throw invalidReply(instance, `it tells of a run on ${on}`);
    if (operation.op === 'train' && key !== operation.run.runKey)
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
  const parsed = REPLIES[op].safeParse(reply);
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
  return new Problem(
    'REPLY_INVALID',
    `The reply of ${instance} can't be used: ${sanitizeForTerminal(why).slice(0, 500)}.`,
    {
      next: 'A program that is root there may have changed it: check what ran on the instance, or use another one.',
    },
  );
}
