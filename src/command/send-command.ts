import type { Aws } from '../aws/clients';
import { awsCode, awsProblem } from '../aws/reason';
import type { Problem } from '../report/problem';

export interface CommandOptions {
  /** What the command is for, shown in the console's command history; at most 100 characters are sent. */
  comment: string;
  /** How long the command may run on the instance, seconds (5 to 172,800). */
  executionTimeout: number;
  /** How long it may wait for delivery, seconds; Systems Manager takes 30 and more. Absent: 30. */
  deliveryTimeout?: number;
  signal?: AbortSignal;
  /** When it was sent, by `steadyNow`, if that was before it is followed. */
  sentAt?: number;
  /** Asked now and then while the command does not end: throws when the instance is gone. */
  assertInstanceExists: () => Promise<void>;
}

/** AWS-RunShellScript's limit for the document with its parameters, less what the document itself takes. */
export const MAX_COMMAND_BYTES = 60 * 1024;

/**
 * The default limit of a delivery, seconds: the least that Systems Manager takes. An agent that has no room for a
 * command refuses it, and Systems Manager may not say so before this is over.
 */
export const DELIVERY_TIMEOUT_S = 30;

/** SendCommand takes so many instance ids. */
const MAX_INSTANCES = 50;

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
  const ids = new Map<string, string>();
  for (let from = 0; from < instances.length; from += MAX_INSTANCES) {
    const some = instances.slice(from, from + MAX_INSTANCES);
    try {
      const input = {
        DocumentName: 'AWS-RunShellScript',
        InstanceIds: some,
        TimeoutSeconds: Math.max(DELIVERY_TIMEOUT_S, options.deliveryTimeout ?? DELIVERY_TIMEOUT_S),
        Comment: options.comment.slice(0, 100),
        Parameters: { commands: [script], executionTimeout: [String(options.executionTimeout)] },
      };
      const sent = await aws.call('SendCommand', input, options.signal);
      for (const instance of some) ids.set(instance, sent.Command!.CommandId!);
    } catch (error) {
      throw sendProblem(some.join(', '), error);
    }
  }
  return ids;
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
  const { statusCode } = (error as { $response?: { statusCode?: number } }).$response ?? {};
  const what =
    statusCode === 200
      ? `The answer to a command for ${instance} can't be read: it may have been started.`
      : `Could not send a command to ${instance}.`;
  return awsProblem('COMMAND_SEND', what, error);
}
