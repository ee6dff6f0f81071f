import { join } from 'node:path';
import type { Aws } from '../aws/clients';
import type { Output } from '../aws/direct/operations';
import { awsCode, awsProblem, isTransient } from '../aws/reason';
import { Problem } from '../report/problem';
import { shellWord } from '../report/shell-words';
import { formatDuration } from '../report/units';
import { steadyNow } from '../system/moment';
import { machineState } from '../workspace/state';
import { LookBudget } from './look-budget';
import { DELIVERY_TIMEOUT_S, type CommandOptions } from './send-command';

export interface Invocation {
  commandId: string;
  status: string;
  /** −1: it never started. */
  responseCode: number;
  stdout: string;
  stderr: string;
}

/** No command has ended so soon after it was sent, ms. */
const SOONEST_END_MS = 250;
/** Between two looks at a command, ms: while a short one may end, and then, until so long after it was sent. */
const SHORT_POLL_MS = 30;
const SHORT_MS = 600;
const FIRST_POLL_MS = 50;
const BRISK_MS = 1_200;
/** After that, up to the longest. */
const MAX_POLL_MS = 2_000;
/** The same where others share the budget of looks, or AWS throttles them. */
const RAREST_POLL_MS = 30_000;
/** Looks on their way at once. */
const MAX_LOOKS = 4;
/** GetCommandInvocation may not know the command yet: facts, "The SSM API". */
const INVISIBLE_MS = 60_000;
const INSTANCE_CHECK_MS = 15_000;
/** Trouble on the way to AWS is waited out this long, ms: the command continues without us. */
const OUTAGE_TIMEOUT_MS = 120_000;
/** Within both its limits, delivery and execution, and this long a command has ended, ms: an agent that is killed or restarted answers up to a minute late. */
const OVERDUE_MS = 120_000;

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

export interface FollowOptions extends CommandOptions {
  /** How long after its limits a command is given up, ms. */
  overdue?: number;
}

/**
 * Waits for a command's end on one instance. The SDK's waiter is not used: it starts at 5 s and retries every error,
 * expired tokens included.
 * @throws Problem where it can't be followed, COMMAND_OVERDUE where it does not end. A script that exits non-zero is an
 *   `Invocation`.
 */
export async function followCommand(
  aws: Aws,
  instance: string,
  commandId: string,
  options: FollowOptions,
): Promise<Invocation> {
  const budget = new LookBudget(join(machineState(), 'looks'));
  try {
    return await new CommandWatch(aws, instance, commandId, options, budget).end();
  } finally {
    budget.close();
  }
}

/** Follows one command on one instance. */
class CommandWatch {
  private readonly started: number;
  /** Of its answer, ms after it was sent. */
  private readonly limit: number;
  /** Since when AWS has not answered. */
  private troubleSince?: number;
  private checked = steadyNow();

  constructor(
    private readonly aws: Aws,
    private readonly instance: string,
    private readonly commandId: string,
    private readonly options: FollowOptions,
    private readonly budget: LookBudget,
  ) {
    const { deliveryTimeout = DELIVERY_TIMEOUT_S, executionTimeout, overdue = OVERDUE_MS } = options;
    this.started = options.sentAt ?? steadyNow();
    this.limit = (deliveryTimeout + executionTimeout) * 1000 + overdue;
  }

  async end(): Promise<Invocation> {
    const { signal } = this.options;
    // A look does not wait for the answer to the one before: an end is seen half a round trip after it was written.
    const looks = new Set<Promise<Invocation | null>>();
    let wait = FIRST_POLL_MS;
    const soonest = this.started + SOONEST_END_MS - steadyNow();
    let due = Math.max(FIRST_POLL_MS, soonest);
    for (;;) {
      const ended = await firstWithin(Math.min(RAREST_POLL_MS, due * this.budget.factor()), looks, signal);
      if (ended) return ended;
      const age = steadyNow() - this.started;
      if (age > BRISK_MS) wait = Math.min(MAX_POLL_MS, wait * 1.3);
      if (looks.size < MAX_LOOKS) {
        const asked = this.look().finally(() => looks.delete(asked));
        asked.catch(() => undefined);
        looks.add(asked);
      }
      await this.checkInstance();
      due = age < SHORT_MS ? SHORT_POLL_MS : wait;
    }
  }

  /** The command's end, or null while it continues. */
  private async look(): Promise<Invocation | null> {
    const { commandId, instance, options } = this;
    const asked = steadyNow();
    const answer = await this.ask();
    if (!answer) return null;
    const status = (answer.StatusDetails || answer.Status || '').replace(/\s/g, '');
    if (!ENDED.has(status) && !ENDED.has(answer.Status ?? '')) {
      // By an answer to a look that late: a machine that slept sees first whether the command has ended.
      const age = asked - this.started;
      if (age > this.limit) throw overdueProblem(instance, commandId, status, age, options);
      return null;
    }
    return {
      commandId,
      status,
      responseCode: answer.ResponseCode ?? -1,
      stdout: answer.StandardOutputContent ?? '',
      stderr: answer.StandardErrorContent ?? '',
    };
  }

  /** What Systems Manager knows of the command; null if it can't be read now. */
  private async ask(): Promise<Output<'GetCommandInvocation'> | null> {
    const { commandId, instance, budget } = this;
    try {
      const input = { CommandId: commandId, InstanceId: instance };
      const answer = await this.aws.call('GetCommandInvocation', input, this.options.signal);
      this.troubleSince = undefined;
      // The SDK repeats a request that was throttled before anybody hears of it.
      if (answer.attempts > 1) budget.throttled();
      else budget.answered();
      return answer;
    } catch (error) {
      if (awsCode(error) === 'InvocationDoesNotExist' && steadyNow() - this.started < INVISIBLE_MS) return null;
      if (isTransient(error)) {
        budget.throttled();
        this.troubleSince ??= steadyNow();
        if (steadyNow() - this.troubleSince < OUTAGE_TIMEOUT_MS) return null;
      }
      throw awsProblem('COMMAND_STATUS', `Could not read the state of command ${commandId} on ${instance}.`, error);
    }
  }

  private async checkInstance(): Promise<void> {
    if (steadyNow() - this.checked <= INSTANCE_CHECK_MS) return;
    // The commands of an instance that vanished stay InProgress: EC2 knows better.
    this.checked = steadyNow();
    await this.options.assertInstanceExists();
  }
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
