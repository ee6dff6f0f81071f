import { join } from 'node:path';
import type { GetCommandInvocationCommandOutput } from '@aws-sdk/client-ssm';
import type { Aws } from '../aws/clients';
import { awsCode, awsProblem, isTransient } from '../aws/reason';
import { Problem } from '../report/problem';
import { sdk } from '../aws/sdk';
import { steadyNow } from '../system/moment';
import { machineState } from '../workspace/state';
import { formatDuration } from '../report/units';
import { LookBudget } from './look-budget';
import type { Repeat } from './repeat';
import { shellWord } from '../report/shell-words';

export interface Invocation {
  commandId: string;
  status: string;
  /** −1: it never started. */
  responseCode: number;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  /** What the command is for, shown in the console's command history; at most 100 characters are sent. */
  comment: string;
  /** How long the command may run on the instance, seconds (5 to 172,800). */
  executionTimeout: number;
  /** How long it may wait for delivery, seconds; Systems Manager takes 30 and more. Absent: 30. */
  deliveryTimeout?: number;
  signal?: AbortSignal;
  /** Asked now and then while the command does not end: throws when the instance is gone. */
  assertInstanceExists: () => Promise<void>;
}

/** AWS-RunShellScript's limit for the document with its parameters, less what the document itself takes. */
export const COMMAND_LIMIT = 60 * 1024;

/** No command has ended so soon after it was sent, ms. */
const SOONEST = 250;
/** Between two looks at a command, ms: at first, for so long after it was sent, and then up to the longest. */
const FIRST_POLL = 50;
const BRISK = 1_200;
const LONGEST_POLL = 2_000;
/** The same where others share the budget of looks, or AWS throttles them. */
const RAREST_POLL = 30_000;
/** Looks on their way at once. */
const LOOKS = 3;
/** GetCommandInvocation may not know the command yet: facts, "The SSM API". */
const INVISIBLE = 60_000;
const CHECK_EVERY = 15_000;
/** Trouble on the way to AWS is waited out this long, ms: the command goes on without us. */
const OUTAGE_TIMEOUT_MS = 120_000;
/** Within both its limits, delivery and execution, and this long a command has ended, ms: an agent that is killed or restarted answers up to a minute late. */
const OVERDUE = 120_000;
/**
 * The default limit of a delivery, seconds: the least that Systems Manager takes. An agent that has no room for a
 * command refuses it, and Systems Manager may not say so before this is over.
 */
const DELIVERY = 30;

const ENDED = new Set([
  'Success',
  'Cancelled',
  'TimedOut',
  'Failed',
  'DeliveryTimedOut',
  'ExecutionTimedOut',
  'Undeliverable',
  'Terminated',
  'InvalidPlatform',
  'AccessDenied',
]);

/** SendCommand takes so many instance ids. */
const INSTANCES = 50;

/**
 * Sends one shell script by Run Command to one or several instances, as one command for up to 50 of them.
 * @returns the command's id for each instance.
 * @throws Problem where it can't be sent.
 */
export async function sendCommand(
  aws: Aws,
  instances: readonly string[],
  script: string,
  options: Omit<CommandOptions, 'assertInstanceExists'>,
): Promise<Map<string, string>> {
  const { SendCommandCommand } = sdk.ssm();
  const ssm = await aws.ssm();
  const ids = new Map<string, string>();
  for (let from = 0; from < instances.length; from += INSTANCES) {
    const some = instances.slice(from, from + INSTANCES);
    try {
      const sent = await ssm.send(
        new SendCommandCommand({
          DocumentName: 'AWS-RunShellScript',
          InstanceIds: some,
          TimeoutSeconds: Math.max(DELIVERY, options.deliveryTimeout ?? DELIVERY),
          Comment: options.comment.slice(0, 100),
          Parameters: { commands: [script], executionTimeout: [String(options.executionTimeout)] },
        }),
        { abortSignal: options.signal },
      );
      for (const instance of some) ids.set(instance, sent.Command!.CommandId!);
    } catch (error) {
      throw sendProblem(some.join(', '), error);
    }
  }
  return ids;
}

/**
 * Waits for a command's end on one instance. The SDK's waiter is not used: it starts at 5 s and retries every error,
 * expired tokens included.
 * @param overdue how long after its limits it is given up, ms.
 * @throws Problem where it can't be followed, COMMAND_OVERDUE where it does not end. A script that exits non-zero is an
 *   `Invocation`.
 */
export async function followCommand(
  aws: Aws,
  instance: string,
  commandId: string,
  options: CommandOptions,
  overdue = OVERDUE,
): Promise<Invocation> {
  const budget = new LookBudget(join(machineState(), 'looks'));
  try {
    return await waitForEnd(aws, instance, commandId, options, budget, overdue);
  } finally {
    budget.close();
  }
}

async function waitForEnd(
  aws: Aws,
  instance: string,
  commandId: string,
  options: CommandOptions,
  budget: LookBudget,
  overdue: number,
): Promise<Invocation> {
  const { GetCommandInvocationCommand } = sdk.ssm();
  const ssm = await aws.ssm();
  const started = steadyNow();
  const limit = ((options.deliveryTimeout ?? DELIVERY) + options.executionTimeout) * 1000 + overdue;
  let checked = started;
  let troubleSince: number | undefined;
  /** The command's end, or null while it goes on. */
  const look = async (): Promise<Invocation | null> => {
    let answer: GetCommandInvocationCommandOutput;
    const asked = steadyNow();
    try {
      answer = await ssm.send(new GetCommandInvocationCommand({ CommandId: commandId, InstanceId: instance }), {
        abortSignal: options.signal,
      });
      troubleSince = undefined;
      // The SDK repeats a request that was throttled before anybody hears of it.
      if ((answer.$metadata.attempts ?? 1) > 1) budget.throttled();
      else budget.answered();
    } catch (error) {
      if (awsCode(error) === 'InvocationDoesNotExist' && steadyNow() - started < INVISIBLE) return null;
      if (isTransient(error)) {
        budget.throttled();
        troubleSince ??= steadyNow();
        if (steadyNow() - troubleSince < OUTAGE_TIMEOUT_MS) return null;
      }
      throw awsProblem('COMMAND_STATUS', `Could not read the state of command ${commandId} on ${instance}.`, error);
    }
    const status = (answer.StatusDetails || answer.Status || '').replace(/\s/g, '');
    if (!ENDED.has(status) && !ENDED.has(answer.Status ?? '')) {
      // By an answer to a look that late: a machine that slept sees first whether the command has ended.
      if (asked - started > limit) throw overdueProblem(instance, commandId, status, asked - started, options);
      return null;
    }
    return {
      commandId,
      status,
      responseCode: answer.ResponseCode ?? -1,
      stdout: answer.StandardOutputContent ?? '',
      stderr: answer.StandardErrorContent ?? '',
    };
  };
  // A look does not wait for the answer to the one before: an end is seen half a round trip after it was written.
  const looks = new Set<Promise<Invocation | null>>();
  let wait = FIRST_POLL;
  for (let due = SOONEST; ; due = wait) {
    const ended = await firstWithin(Math.min(RAREST_POLL, due * budget.factor()), looks, options.signal);
    if (ended) return ended;
    if (steadyNow() - started > BRISK) wait = Math.min(LONGEST_POLL, wait * 1.3);
    if (looks.size < LOOKS) {
      const asked = look().finally(() => looks.delete(asked));
      asked.catch(() => undefined);
      looks.add(asked);
    }
    if (steadyNow() - checked > CHECK_EVERY) {
      // The commands of an instance that vanished stay InProgress: EC2 knows better.
      checked = steadyNow();
      await options.assertInstanceExists();
    }
  }
}

/** Between two tries where an instance takes no more commands, ms: at first and up to the longest, and for how long in all. */
const FIRST_TRY = 500;
const LONGEST_TRY = 8_000;
const FULL = 10 * 60_000;
/** How often a command is sent again that never started, or brought no reply, if nothing says that the instance was full. */
const RESENDS = 2;
/** A command that is not delivered is sent again for so long, ms: an agent that restarts is back within a minute. */
const UNDELIVERED = 4 * 60_000;
const NEVER_STARTED = /^(Failed|Undeliverable|DeliveryTimedOut)$/;

export interface FinishOptions extends CommandOptions {
  repeat: Repeat;
  /** Whether a command that ran has brought its reply. */
  answered: (invocation: Invocation) => boolean;
}

/**
 * Like followCommand, but sends a command again where that is safe: one that never started (an agent takes five that
 * run and five that wait, and does not always say so), and one that ran and brought no reply.
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
  for (let wait = FIRST_TRY; ; wait = Math.min(LONGEST_TRY, wait * 1.5)) {
    const invocation = await followCommand(aws, instance, commandId, options);
    if (!mayRepeat(invocation, options)) return invocation;
    if (saysFull(invocation)) {
      if (since() > FULL) throw busyProblem(instance);
    } else if (isUndelivered(invocation)) {
      if (since() > UNDELIVERED) return invocation;
    } else if (++unexplained > RESENDS) return invocation;
    // Not all that were dropped together come together again.
    await sleep(wait * (0.5 + Math.random()), options.signal);
    commandId = (await sendCommand(aws, [instance], script, options)).get(instance)!;
  }
}

function mayRepeat(invocation: Invocation, { repeat, answered }: FinishOptions): boolean {
  if (neverStarted(invocation)) return repeat.unstarted;
  // What was killed for its time or its memory, or by somebody, would be again.
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
    `${instance} accepted no command for ${FULL / 60_000} minutes: five are running, and five are waiting.`,
    {
      next: 'Commands of nx-ec2 end within seconds. Find the others in the command history of Systems Manager, and cancel them.',
    },
  );
}

function overdueProblem(
  instance: string,
  commandId: string,
  status: string,
  ms: number,
  { executionTimeout }: CommandOptions,
): Problem {
  return new Problem(
    'COMMAND_OVERDUE',
    `Command ${commandId} on ${instance} is still ${status} after ${formatDuration(ms)}, past its time limit of ${formatDuration(executionTimeout * 1000)}.`,
    {
      next: `Its reply was lost, or the SSM agent hangs. Restart the agent (sudo systemctl restart amazon-ssm-agent) and run the same nx command again; nothing is done twice. To see the state in Systems Manager: aws ssm get-command-invocation --command-id ${shellWord(commandId)} --instance-id ${shellWord(instance)}`,
    },
  );
}

/** The first that is not null; null where none is after so many ms. Rejects as the first that rejects, and when it is aborted. */
function firstWithin<T>(ms: number, all: Iterable<Promise<T | null>>, signal?: AbortSignal): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', aborted);
      act();
    };
    const aborted = () => settle(() => reject(signal!.reason));
    const timer = setTimeout(() => settle(() => resolve(null)), ms);
    if (signal?.aborted) return aborted();
    signal?.addEventListener('abort', aborted, { once: true });
    for (const each of all) {
      each.then(
        (value) => value !== null && settle(() => resolve(value)),
        (error: unknown) => settle(() => reject(error)),
      );
    }
  });
}

function sendProblem(instance: string, error: unknown): Problem {
  const code = awsCode(error);
  if (code === 'InvalidInstanceId') {
    return awsProblem(
      'INSTANCE_OFFLINE',
      `Systems Manager can't reach ${instance}.`,
      error,
      'It may be stopped or still booting, its SSM agent may have no route to SSM, or its role lacks AmazonSSMManagedInstanceCore. To find out: nx run <project>:remote-doctor',
    );
  }
  return awsProblem('COMMAND_SEND', `Could not send a command to ${instance}.`, error);
}

/** Resolves after `ms`; rejects with the signal's reason when it is aborted before. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', aborted);
      resolve();
    }, ms);
    const aborted = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    signal?.addEventListener('abort', aborted, { once: true });
  });
}

/** Why a command that brought no reply ended, for the user. */
export function noReplyError(instance: string, invocation: Invocation): Problem {
  const { status, stderr, stdout, commandId } = invocation;
  const tail = (stderr || stdout).trimEnd().split('\n').slice(-10).join('\n');
  if (/Undeliverable|DeliveryTimedOut/.test(status)) {
    return new Problem('COMMAND_UNDELIVERED', `Command ${commandId} was never delivered to ${instance} (${status}).`, {
      next: 'Either Systems Manager does not reach the SSM agent, or five commands are running and five are waiting (see the command history of Systems Manager). To find out: nx run <project>:remote-doctor',
    });
  }
  if (status === 'Cancelled') {
    return new Problem('COMMAND_CANCELLED', `Command ${commandId} on ${instance} was cancelled.`);
  }
  if (/TimedOut/.test(status)) {
    return new Problem(
      'COMMAND_TIMEOUT',
      `Command ${commandId} on ${instance} was killed: it took too long, or memory ran out.`,
      {
        next: tail ? `Its last output:\n${tail}` : undefined,
      },
    );
  }
  return new Problem(
    'COMMAND_FAILED',
    `Command ${commandId} on ${instance} ended without a reply (${status}, code ${invocation.responseCode}).`,
    {
      next: tail
        ? `Its last output:\n${tail}`
        : 'It printed nothing. Check whether a shell profile or a policy on the instance interferes.',
    },
  );
}
