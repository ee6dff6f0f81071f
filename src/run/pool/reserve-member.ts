import type { ActivityReply } from '../../command/plan';
import { RemoteFailure } from '../../command/remote-failure';
import type { LaunchSpec, Pool } from '../../config/schema/launch-spec';
import type { InstanceInfo } from '../../instance/describe/describe-instances';
import { specHash } from '../../instance/describe/ownership';
import { machineTypes } from '../../instance/launch/machine-type';
import { launchKeys, listMembers } from '../../instance/pool/members';
import { place, type Claim, type Member, type Placement } from '../../instance/pool/place';
import { PoolReservations, type HeldReservation, type Reservation } from '../../instance/pool/reservations';
import { requiredTags } from '../../context/required-tags';
import type { RunContext } from '../../context/types';
import { describeIdleEnd } from './describe-pool';
import { Problem } from '../../report/problem';
import { nxRun } from '../../report/shell-words';
import { mapConcurrent } from '../../system/side-by-side';

/** Members that are asked at once what runs there. */
const CONCURRENCY = 8;
/** A member that has not said it by then is not waited for, ms. */
const ANSWER_TIMEOUT_MS = 30_000;

/** A launch spec with a pool. */
export type PoolSpec = LaunchSpec & { pool: Pool };

/** Where a run is to start: the slot of a member, reserved for it until it is released. */
export interface ReservedMember extends Placement {
  reservation: HeldReservation;
  /** How many places of the pool are taken, this one among them. */
  taken: number;
}

/** What EC2 and the members themselves say. */
interface Seen {
  members: Member[];
  others: InstanceInfo[];
}

/**
 * Chooses the member of a pool on which a run starts or waits, and reserves it: commands that choose at the same moment
 * know of each other.
 * @param mayLaunch false: no member is launched for it. @param same runs of the same training, started by a command that was
 * killed: if one is on a member, or on its way there, that member finds it.
 * @throws Problem `POOL_FULL`, `POOL_CLAIM`
 */
export async function reserveMember(
  context: RunContext,
  launchSpec: PoolSpec,
  claim: Claim,
  { mayLaunch = true, same, signal }: { mayLaunch?: boolean; same: readonly string[]; signal: AbortSignal },
): Promise<ReservedMember> {
  const { aws, store, keys } = context;
  const owner = await context.owner();
  const key = launchKeys(keys, owner).reservations(specHash(owner, launchSpec));
  const reservations = new PoolReservations(store, key, () => aws.now());
  const gpus = await gpusOfTypes(context, launchSpec, claim, signal);
  let known: Reservation[] = [];
  let seen: Seen | undefined;
  for (;;) {
    signal.throwIfAborted();
    const read = await reservations.read(signal);
    // The run of a reservation that has ended may be on a member by now: all are asked after it was read.
    const isStale = known.some(({ run }) => !read.all.some((each) => each.run === run));
    if (!seen || isStale) seen = await look(context, launchSpec, gpus, signal);
    known = read.all;
    const members = withReservations(seen.members, known, claim.run, gpus);
    const limits = { size: mayLaunch ? launchSpec.pool.size : 0, others: seen.others.length };
    const its = members.find(({ loads }) => loads.some(({ run }) => same.includes(run)));
    const placement: Placement | null = its
      ? { how: 'room', slot: its.slot, before: 0 }
      : place(members, claim, limits);
    if (!placement) throw poolFull(context, launchSpec, members, seen.others);
    const reservation = await reservations.add(claim, placement.slot, read);
    const taken = members.length + seen.others.length + (placement.how === 'launch' ? 1 : 0);
    if (reservation) return { ...placement, reservation, taken };
  }
}

/** How many GPUs the types of the launch spec have, by name. A run that reserves none needs not know. */
async function gpusOfTypes(
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

/** Looks up the members, and asks those that run what runs there. */
async function look(
  context: RunContext,
  launchSpec: PoolSpec,
  gpus: ReadonlyMap<string, number>,
  signal: AbortSignal,
): Promise<Seen> {
  const { bySlot, others } = await listMembers(context.aws, launchSpec, await requiredTags(context), signal);
  const members: Member[] = [];
  await mapConcurrent(bySlot, CONCURRENCY, async ([slot, instance]) => {
    members.push(await askMember(context, slot, instance, gpus.get(instance.type) ?? null, signal));
  });
  return { members, others };
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

/** The members with the runs that commands are about to start there, and the places for which one is being launched. */
function withReservations(
  members: readonly Member[],
  reservations: readonly Reservation[],
  run: string,
  gpus: ReadonlyMap<string, number>,
): Member[] {
  const least = gpus.size ? Math.min(...gpus.values()) : null;
  const bySlot = new Map(members.map((each) => [each.slot, each]));
  for (const { slot, at: _, ...claim } of reservations) {
    if (claim.run === run) continue;
    const member = bySlot.get(slot) ?? { slot, state: 'starting', gpus: least, loads: [] };
    const isThere = member.loads.some((each) => each.run === claim.run);
    const loads = isThere ? member.loads : [...member.loads, { ...claim, granted: false }];
    bySlot.set(slot, { ...member, loads });
  }
  return [...bySlot.values()];
}

function poolFull(
  { project }: RunContext,
  launchSpec: PoolSpec,
  members: readonly Member[],
  others: readonly InstanceInfo[],
): Problem {
  const { pool } = launchSpec;
  const why = [
    ...(members.length ? [`${members.length} can't take this run: too few GPUs, or no answer`] : []),
    ...(others.length
      ? [
          `${others.length} ${others.length === 1 ? 'was' : 'were'} launched with another launch spec, bucket or prefix (${others.map(({ id, type }) => `${id}, ${type}`).join('; ')})`,
        ]
      : []),
  ];
  return new Problem(
    'POOL_FULL',
    `The pool ${pool.name} has all its ${pool.size} members, and none for this run: ${why.join('; ') || 'EC2 has no capacity for one'}.`,
    {
      next: `${describeIdleEnd(launchSpec)} Raise "instance.size", or end those that nothing runs on now: ${nxRun(project, 'remote-down')}`,
      settings: ['instance.size'],
    },
  );
}
