import { Problem } from '../report/problem';
import type { Invocation } from './follow-command';

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
