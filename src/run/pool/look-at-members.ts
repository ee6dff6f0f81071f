import type { ActivityReply } from '../../command/plan';
import { RemoteFailure } from '../../command/remote-failure';
import type { PoolSpec } from '../../config/schema/launch-spec';
import type { InstanceInfo } from '../../instance/describe/describe-instances';
import { listNoticed } from '../../instance/describe/spot-notice';
import { machineTypes } from '../../instance/launch/machine-type';
import { listMembers } from '../../instance/pool/members';
import type { Claim, Member } from '../../instance/pool/place';
import { requiredTags } from '../../context/required-tags';
import type { RunContext } from '../../context/types';
import { Problem } from '../../report/problem';
import { mapConcurrent } from '../../system/side-by-side';

/** Members that are asked at once what runs there. */
const CONCURRENCY = 8;
/** A member that has not said it by then is not waited for, ms. */
const ANSWER_TIMEOUT_MS = 30_000;

/** How many GPUs the types of the launch spec have, by name. A run that reserves none needs not know. */
export async function gpusOfTypes(
  { aws }: RunContext,
  { types, pool }: PoolSpec,
  claim: Claim,
  signal: AbortSignal,
): Promise<Map<string, number>> {
  if (claim.gpus === 0) return new Map();
  const found = new Map((await machineTypes(aws, types, signal)).map(({ name, gpus }) => [name, gpus]));
  if (Math.max(...found.values()) < claim.gpus)
    throw new Problem(
      'POOL_CLAIM',
      `"train.resources" reserves ${claim.gpus} GPUs, and no instance type of the pool ${pool.name} has as many: ${[...found].map(([name, count]) => `${name} has ${count}`).join(', ')}.`,
      { next: 'Reserve fewer, or choose another type.', settings: ['train.resources', 'instance.type'] },
    );
  return found;
}

/** What EC2 and the members themselves say. */
export interface SeenMembers {
  members: Member[];
  /** The instances of the members, by their slots. */
  ids: Map<number, string>;
  others: InstanceInfo[];
}

/** Looks up the members, and asks those that run what runs there. */
export async function lookAtMembers(
  context: RunContext,
  launchSpec: PoolSpec,
  gpus: ReadonlyMap<string, number>,
  signal: AbortSignal,
): Promise<SeenMembers> {
  const { bySlot, others } = await listMembers(context.aws, launchSpec, await requiredTags(context), signal);
  const ids = new Map([...bySlot].map(([slot, { id }]) => [slot, id]));
  const leaving = launchSpec.spot ? await listNoticed(context.aws, [...ids.values()], signal) : [];
  const members: Member[] = [];
  await mapConcurrent(bySlot, CONCURRENCY, async ([slot, instance]) => {
    const ofType = gpus.get(instance.type) ?? null;
    const member: Member = leaving.includes(instance.id)
      ? { slot, state: 'leaving', gpus: ofType, loads: [] }
      : await askMember(context, slot, instance, ofType, signal);
    members.push(member);
  });
  return { members, ids, others };
}

async function askMember(
  { aws, at, printer, configuration }: RunContext,
  slot: number,
  { id, state, launchedAt }: InstanceInfo,
  gpus: number | null,
  signal: AbortSignal,
): Promise<Member> {
  const starting: Member = { slot, state: 'starting', gpus, loads: [] };
  if (state !== 'running') return starting;
  const options = {
    comment: 'nx-ec2: pool',
    executionTimeout: 60,
    signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]),
  };
  try {
    const { queue } = await at(id).remote.send<ActivityReply>(
      { op: 'activity', watchdog: false, queue: true },
      options,
    );
    return { slot, state: 'running', gpus: queue?.gpus ?? gpus, loads: queue?.tickets ?? [] };
  } catch (error) {
    signal.throwIfAborted();
    // One that has answered is not starting.
    const isStarting =
      !(error instanceof RemoteFailure) && (await aws.now()) - launchedAt < configuration.instance.startupTimeout;
    const why = `${id} does not report what runs on it: ${(error as Error).message}`;
    if (isStarting) printer.detail(why);
    else printer.warn(why);
    return { ...starting, state: isStarting ? 'starting' : 'silent' };
  }
}
