import type { z } from 'zod';
import { Problem } from '../report/problem';
import { sanitizeForTerminal } from '../report/terminal-text';
import { REPLIES } from '../schema/reply';
import { contradictionIn } from '../schema/contradiction';
import type { runState } from '../schema/run';
import type { Operation, SyncReply } from './plan';

/**
 * Checks the reply of an instance to an operation. The instance is not trusted: its reply must describe the run that
 * was asked about, on that instance, or one that is the same training.
 * @throws Problem `REPLY_INVALID`
 */
export function checkReply<T>(instance: string, operation: Operation, reply: object): T {
  const told = shaped(instance, operation.op, reply) as { run?: z.infer<typeof runState>; attached?: false | string };
  if (told.run) {
    const { id, runKey: key, instance: on } = told.run;
    if (on !== instance) throw invalidReply(instance, `it describes a run on ${on}`);
    if (operation.op === 'train' && key !== operation.run.runKey)
      throw invalidReply(instance, `it describes ${id}, which is another training`);
    if (!told.attached && id !== askedRun(operation)) throw invalidReply(instance, `it describes ${id}`);
    const contradiction = contradictionIn(told.run);
    if (contradiction !== null) throw invalidReply(instance, `${id} ${contradiction}`);
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
      next: 'A program with root access there may have changed it. Check what ran on the instance, or use another one.',
    },
  );
}
