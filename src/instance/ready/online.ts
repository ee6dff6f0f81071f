import type { Aws } from '../../aws/clients';
import { awsProblem, isTransient } from '../../aws/reason';
import { sleep } from '../../system/sleep';
import { Problem } from '../../report/problem';
import { formatDuration } from '../../report/units';
import { findInstance, type FoundInstance } from '../describe/find';
import { steadyNow } from '../../system/moment';

const ONLINE_POLL_MS = 2_000;

/** Whether SSM reaches the instance: PingStatus (refreshed every 5 min only) or an open channel counts. */
export async function isOnline(aws: Aws, id: string): Promise<{ online: boolean; ping?: string; agent?: string }> {
  try {
    const answer = await aws.call('DescribeInstanceInformation', { Filters: [{ Key: 'InstanceIds', Values: [id] }] });
    const information = answer.InstanceInformationList?.[0];
    return {
      online: information?.PingStatus === 'Online',
      ping: information?.PingStatus,
      agent: information?.AgentVersion,
    };
  } catch (error) {
    throw awsProblem('SSM_DESCRIBE', `Could not ask Systems Manager about ${id}.`, error);
  }
}

/**
 * Waits until the instance runs and SSM reaches it. One that boots is waited for, up to `limit` ms; one that is
 * stopped or terminated never.
 * @param onWait called once a wait begins, with what is waited for.
 */
export async function waitOnline(
  aws: Aws,
  instance: Pick<FoundInstance, 'id' | 'state'>,
  limit: number,
  onWait: (what: string) => void,
  signal?: AbortSignal,
): Promise<void> {
  const started = steadyNow();
  let said = '';
  let state = instance.state;
  const say = (what: string) => {
    if (what !== said) onWait((said = what));
  };
  for (;;) {
    if (state !== 'running' && state !== 'pending') {
      throw new Problem('INSTANCE_NOT_RUNNING', `The instance ${instance.id} is ${state}.`, {
        next: state === 'stopped' ? 'Start it: nx run <project>:remote-up' : 'Name another instance.',
      });
    }
    let ping: string | undefined;
    if (state === 'running') {
      try {
        const answer = await isOnline(aws, instance.id);
        if (answer.online) return;
        ping = answer.ping;
      } catch (error) {
        if (!isTransient((error as Problem).cause)) throw error;
      }
    }
    if (steadyNow() - started >= limit) {
      throw new Problem(
        'SSM_OFFLINE',
        `Systems Manager could not reach ${instance.id} within ${formatDuration(limit)} (instance ${state}, agent ${ping ?? 'never registered'}).`,
        {
          next: 'The instance needs the SSM agent, an instance profile with AmazonSSMManagedInstanceCore, and a route to SSM (NAT, or VPC endpoints for ssm, ssmmessages and ec2messages).',
        },
      );
    }
    say(state === 'pending' ? `${instance.id} is booting` : `${instance.id} is running; waiting for its SSM agent`);
    await sleep(ONLINE_POLL_MS, signal);
    if (state === 'pending' || steadyNow() - started > 2 * ONLINE_POLL_MS)
      state = (await findInstance(aws, { id: instance.id })).state;
  }
}
