import type { Instance } from '@aws-sdk/client-ec2';
import type { Aws } from '../../aws/clients';
import type { Input } from '../../aws/direct/operations';
import { awsCode, awsProblem } from '../../aws/reason';
import { callerIdentity } from '../../workspace/identity';
import { stateOf, stateReason } from './find';
import { projectOf, TAG, tagText, type Owner } from './ownership';

/** An instance with what matters of one that is made and ended. */
export interface InstanceInfo {
  id: string;
  /** pending, running, shutting-down, terminated, stopping, stopped. */
  state: string;
  type: string;
  zone: string | null;
  /** null: it is terminated. */
  subnet: string | null;
  /** Its place among the instances of one launch, from 0. */
  launchIndex: number;
  market: 'spot' | 'on-demand';
  /** The name of the placement group that it is in. */
  placementGroup: string | null;
  spotRequest: string | null;
  clientToken: string | null;
  /** ms since the epoch; each start changes it. */
  launchedAt: number;
  tags: Record<string, string>;
  /** Why it left `running`, in EC2's words. */
  reason: string | null;
}

export function isAlive({ state }: Pick<InstanceInfo, 'state'>): boolean {
  return state !== 'terminated' && state !== 'shutting-down';
}

/**
 * The live instances of this project that this caller launched, the oldest first.
 * @param ending also those that are about to be terminated.
 */
export async function listOwnedInstances(
  aws: Aws,
  owner: Owner,
  signal?: AbortSignal,
  ending = false,
): Promise<InstanceInfo[]> {
  const found = await describe(
    aws,
    {
      Filters: [
        { Name: `tag:${TAG.managed}`, Values: ['true'] },
        { Name: `tag:${TAG.project}`, Values: [escapeFilterValue(tagText(projectOf(owner)))] },
        {
          Name: 'instance-state-name',
          Values: ['pending', 'running', 'stopping', 'stopped', ...(ending ? ['shutting-down'] : [])],
        },
      ],
    },
    `Could not look up the instances of ${owner.project}.`,
    signal,
  );
  return found.filter(({ tags }) => isOwn(tags, owner)).sort(byAge);
}

/** The oldest first. */
export function byAge(one: InstanceInfo, other: InstanceInfo): number {
  return one.launchedAt - other.launchedAt || Number(one.id > other.id) - Number(one.id < other.id);
}

/** Whether an instance was made by nx-ec2 for this project and caller. */
export function isOwn(tags: Record<string, string>, owner: Owner): boolean {
  return (
    tags[TAG.managed] === 'true' &&
    tags[TAG.project] === tagText(projectOf(owner)) &&
    tags[TAG.workspace] === tagText(owner.workspace) &&
    callerIdentity(tags[TAG.owner] ?? '') === callerIdentity(tagText(owner.caller))
  );
}

/** All that were launched under a client token and live. */
export async function findByClientToken(aws: Aws, token: string, signal?: AbortSignal): Promise<InstanceInfo[]> {
  const filters = [{ Name: 'client-token', Values: [token] }];
  const found = await describe(aws, { Filters: filters }, 'Could not look up the launched instances.', signal);
  return found.filter(isAlive);
}

/** null: EC2 knows none of that id; or not yet, within about a second of its launch. */
export async function describeInstance(aws: Aws, id: string, signal?: AbortSignal): Promise<InstanceInfo | null> {
  const [found] = await describe(aws, { InstanceIds: [id] }, `Could not look up the instance ${id}.`, signal);
  return found ?? null;
}

/**
 * Whether EC2 says that an instance is terminated: nothing on it runs any more. Any other state, an instance that EC2
 * does not know, and no answer say nothing.
 */
export async function isTerminated(aws: Aws, id: string, signal?: AbortSignal): Promise<boolean> {
  const found = await describeInstance(aws, id, signal).catch(() => null);
  return found?.id === id && found.state === 'terminated';
}

/** Those of some ids that EC2 knows. */
export function describeInstances(aws: Aws, ids: readonly string[], signal?: AbortSignal): Promise<InstanceInfo[]> {
  // A filter: of ids that are named otherwise, one that EC2 does not know yet makes the request fail.
  const filters = [{ Name: 'instance-id', Values: [...ids] }];
  return describe(aws, { Filters: filters }, `Could not look up the instances ${ids.join(', ')}.`, signal);
}

async function describe(
  aws: Aws,
  request: Input<'DescribeInstances'>,
  what: string,
  abortSignal?: AbortSignal,
): Promise<InstanceInfo[]> {
  const found: InstanceInfo[] = [];
  try {
    for await (const instance of aws.instances(request, abortSignal)) found.push(toInstanceInfo(instance));
  } catch (error) {
    if (awsCode(error) === 'InvalidInstanceID.NotFound') return [];
    throw awsProblem('INSTANCE_DESCRIBE', what, error);
  }
  return found;
}

export function toInstanceInfo(instance: Instance): InstanceInfo {
  return {
    id: instance.InstanceId!,
    state: stateOf(instance),
    type: instance.InstanceType!,
    zone: instance.Placement?.AvailabilityZone ?? null,
    subnet: instance.SubnetId ?? null,
    launchIndex: instance.AmiLaunchIndex ?? 0,
    market: instance.InstanceLifecycle === 'spot' ? 'spot' : 'on-demand',
    placementGroup: instance.Placement?.GroupName || null,
    spotRequest: instance.SpotInstanceRequestId ?? null,
    clientToken: instance.ClientToken || null,
    launchedAt: instance.LaunchTime?.getTime() ?? 0,
    tags: Object.fromEntries((instance.Tags ?? []).map(({ Key, Value }) => [Key!, Value ?? ''])),
    reason: stateReason(instance),
  };
}

/** As a filter's value, that meets at least what is equal: what has a meaning of its own there stands for any character. */
export function escapeFilterValue(text: string): string {
  return text.replace(/[*?\\]/g, '?');
}
