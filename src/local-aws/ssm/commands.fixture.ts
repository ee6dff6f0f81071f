import { setTimeout as sleep } from 'node:timers/promises';
import { GetCommandInvocationCommand, SendCommandCommand } from '@aws-sdk/client-ssm';
import type { Fixture } from '../local-aws.fixture';

/** Sends scripts to an instance of local AWS and reads how they end. */
export function commandsOf(at: Fixture, box = at.aws.named.get('box')!.id) {
  const send = async (script: string, more: Record<string, unknown> = {}, instance = box) => {
    const { Parameters, ...input } = more;
    const sent = await at.ssm.send(
      new SendCommandCommand({
        InstanceIds: [instance],
        DocumentName: 'AWS-RunShellScript',
        Parameters: { commands: [script], ...(Parameters as object) },
        ...input,
      }),
    );
    return sent.Command!.CommandId!;
  };
  const look = (CommandId: string, instance = box) =>
    at.ssm.send(new GetCommandInvocationCommand({ CommandId, InstanceId: instance }));
  const ended = async (id: string, instance = box) => {
    for (;;) {
      const seen = await look(id, instance);
      if (!['Pending', 'InProgress', 'Cancelling'].includes(seen.Status!)) return seen;
      await sleep(20);
    }
  };
  const run = async (script: string, more?: Record<string, unknown>) => ended(await send(script, more));
  const statuses = (ids: string[]) => Promise.all(ids.map(async (id) => (await look(id)).Status));
  return { box, send, look, ended, run, statuses };
}
