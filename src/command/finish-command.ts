import type { Aws } from '../aws/clients';
import { Problem } from '../report/problem';
import { steadyNow } from '../system/moment';
import { sleep } from '../system/sleep';
import { followCommand, type Invocation } from './follow-command';
import type { Repeat } from './repeat';
import { sendCommand, type CommandOptions } from './send-command';

/** Between two tries where an instance takes no more commands, ms: at first and up to the longest, and for how long in all. */
const FIRST_RESEND_MS = 500;
const MAX_RESEND_MS = 8_000;
const BUSY_TIMEOUT_MS = 10 * 60_000;
/** How often a command is sent again that never started, or brought no reply, if nothing says that the instance was full. */
const MAX_RESENDS = 2;
/** A command that is not delivered is sent again for so long, ms: an agent that restarts is back within a minute. */
const UNDELIVERED_TIMEOUT_MS = 4 * 60_000;
const NEVER_STARTED = /^(Failed|Undeliverable|DeliveryTimedOut)$/;

export interface FinishOptions extends CommandOptions {
  repeat: Repeat;
  /** Whether a command that ran has brought its reply. */
  answered: (invocation: Invocation) => boolean;
}

/**
 * Like followCommand, but sends a command again where that is safe: one that never started (an agent
 * runs five commands and queues five; it drops more, sometimes without an error), and one that ran and brought no reply.
 * @returns the last one's end; where it never started, Systems Manager said why or was asked often enough.
 * @throws Problem INSTANCE_BUSY where the instance says for ten minutes that it takes none.
 */
export async function finishCommand(
  aws: Aws,
  instance: string,
  commandId: string,
  script: string,
  options: FinishOptions,
): Promise<Invocation> {
  const started = steadyNow();
  const since = () => steadyNow() - started;
  let unexplained = 0;
  for (let wait = FIRST_RESEND_MS; ; wait = Math.min(MAX_RESEND_MS, wait * 1.5)) {
    const invocation = await followCommand(aws, instance, commandId, options);
    if (!mayRepeat(invocation, options)) return invocation;
    if (saysFull(invocation)) {
      if (since() > BUSY_TIMEOUT_MS) throw busyProblem(instance);
    } else if (isUndelivered(invocation)) {
      if (since() > UNDELIVERED_TIMEOUT_MS) return invocation;
    } else if (++unexplained > MAX_RESENDS) return invocation;
    // Commands that were dropped at the same time are not sent again at the same time.
    await sleep(wait * (0.5 + Math.random()), options.signal);
    options = { ...options, sentAt: undefined };
    commandId = (await sendCommand(aws, [instance], script, options)).get(instance)!;
  }
}

function mayRepeat(invocation: Invocation, { repeat, answered }: FinishOptions): boolean {
  if (neverStarted(invocation)) return repeat.unstarted;
  // A command that was killed for its time or its memory, or by a person, would be killed again.
  return repeat.noReply && /^(Success|Failed)$/.test(invocation.status) && !answered(invocation);
}

function neverStarted(invocation: Invocation): boolean {
  return invocation.responseCode === -1 && (NEVER_STARTED.test(invocation.status) || saysFull(invocation));
}

function isUndelivered({ status }: Invocation): boolean {
  return /^(Undeliverable|DeliveryTimedOut)$/.test(status);
}

function saysFull({ status, stdout, stderr }: Invocation): boolean {
  return [status, stdout, stderr].some((text) => text.includes('ProcessorBufferFull'));
}

function busyProblem(instance: string): Problem {
  return new Problem(
    'INSTANCE_BUSY',
    `${instance} accepted no command for ${BUSY_TIMEOUT_MS / 60_000} minutes: five are running, and five are waiting.`,
    {
      next: 'Commands of nx-ec2 end within seconds. Find the others in the command history of Systems Manager, and cancel them.',
    },
  );
}
