import type { PoolSpec } from '../../config/schema/launch-spec';
import { specHash, TAG } from '../../instance/describe/ownership';
import { launchKeys } from '../../instance/pool/members';
import { canTake, passedOver, place, type Claim, type Member, type Placement } from '../../instance/pool/place';
import {
  PoolReservations,
  precedes,
  type HeldReservation,
  type ReadReservations,
  type Reservation,
} from '../../instance/pool/reservations';
import { withReservations } from '../../instance/pool/with-reservations';
import type { RunContext } from '../../context/types';
import { describeIdleEnd } from './describe-pool';
import { endLeaving } from './leaving-members';
import { gpusOfTypes, lookAtMembers, type SeenMembers } from './look-at-members';
import { Problem } from '../../report/problem';
import { nxRun } from '../../report/shell-words';

/** Where a run is to start: the slot of a member, reserved for it until it is released. */
export interface ReservedMember extends Placement {
  reservation: HeldReservation;
  /** How many places of the pool are taken, this one among them. */
  taken: number;
}

/** The members with the runs that are there or on their way, and what else counts for the size of the pool. */
interface View {
  members: Member[];
  seen: SeenMembers;
  read: ReadReservations;
  /** Members with another launch spec that EC2 lists, or that another command is about to launch. */
  others: number;
}

/**
 * Chooses the member of a pool on which a run starts or waits, and reserves it: commands that choose at the same moment
 * know of each other.
 */
export class PoolChoice {
  private known: Reservation[] = [];
  private seen: SeenMembers | undefined;
  private gpus: Map<string, number> | undefined;
  private said = '';

  constructor(
    private readonly context: RunContext,
    private readonly launchSpec: PoolSpec,
    private readonly claim: Claim,
    private readonly signal: AbortSignal,
  ) {}

  /**
   * @param mayLaunch false: no member is launched for it. @param same runs of the same training, started by a command that
   * was killed: if one is on a member, or on its way there, that member finds it.
   * @throws Problem `POOL_FULL`, `POOL_CLAIM`
   */
  async reserve({ mayLaunch = true, same }: { mayLaunch?: boolean; same: readonly string[] }): Promise<ReservedMember> {
    const { claim, launchSpec, context, signal } = this;
    for (;;) {
      const view = await this.look();
      const { members, seen, others } = view;
      const its = members.find((each) => canTake(each, claim) && each.loads.some(({ run }) => same.includes(run)));
      const placement: Placement | null = its
        ? { how: 'room', slot: its.slot, before: 0 }
        : mayLaunch
          ? place(members, claim, { size: launchSpec.pool.size, others })
          : placeOnExisting(seen.members, members, claim);
      const leaving = members.filter(({ state }) => state === 'leaving').map(({ slot }) => seen.ids.get(slot)!);
      const isShort = mayLaunch && leaving.length > 0 && (placement === null || placement.how === 'queue');
      if (isShort) this.sayLeaving(leaving);
      if (isShort && (await endLeaving(context, leaving, { wait: placement === null, signal }))) {
        this.seen = undefined;
        continue;
      }
      if (!placement) throw poolFull(context, launchSpec, view);
      const reserved = await this.add(placement, view);
      if (reserved) return reserved;
    }
  }

  /**
   * Reserves a member for a run that waits on an instance, if another one has room or can be launched.
   * @param defer how many runs may be passed over that come before it and wait as well.
   * @returns `deferred`: there are more; null: no other member has room, or another command has reserved something.
   */
  async reserveElsewhere(
    instance: string,
    { mayLaunch, defer }: { mayLaunch: boolean; defer: number },
  ): Promise<ReservedMember | 'deferred' | null> {
    const { claim, launchSpec } = this;
    const view = await this.look();
    const { members, seen, others } = view;
    const placement = place(members, claim, { size: launchSpec.pool.size, others });
    if (placement === null || placement.how === 'queue' || seen.ids.get(placement.slot) === instance) return null;
    if (placement.how === 'launch' && !mayLaunch) return null;
    const isBefore = (load: Claim) => load.run !== claim.run && precedes(load, claim);
    return passedOver(members, placement, isBefore) > defer ? 'deferred' : this.add(placement, view);
  }

  private sayLeaving(ids: readonly string[]): void {
    const text = `AWS is about to take ${ids.join(', ')} away, of the pool ${this.launchSpec.pool.name}.`;
    if (text !== this.said) this.context.printer.line(text);
    this.said = text;
  }

  private async look(): Promise<View> {
    const { context, launchSpec, signal } = this;
    signal.throwIfAborted();
    this.gpus ??= await gpusOfTypes(context, launchSpec, this.claim, signal);
    const read = await (await this.reservations()).read(signal);
    // The run of a reservation that has ended may be on a member by now: all are asked after it was read.
    const isStale = this.known.some(({ run }) => !read.all.some((each) => each.run === run));
    if (!this.seen || isStale) this.seen = await lookAtMembers(context, launchSpec, this.gpus, signal);
    this.known = read.all;
    const owner = await context.owner();
    const isOwn = ({ slot, key }: Reservation) => key === specHash(owner, launchSpec, 1, slot);
    const listed = new Set(this.seen.others.map(({ tags }) => tags[TAG.key]));
    const coming = new Set(read.all.filter((each) => !isOwn(each) && !listed.has(each.key)).map(({ key }) => key));
    const others = this.seen.others.length + coming.size;
    const least = this.gpus.size ? Math.min(...this.gpus.values()) : null;
    const limits = { size: launchSpec.pool.size, others };
    const options = { run: this.claim.run, gpus: least };
    const members = withReservations(this.seen.members, read.all.filter(isOwn), limits, options);
    return { members, seen: this.seen, read, others };
  }

  /** @returns null if another command has reserved something in between. */
  private async add(placement: Placement, { members, others, read }: View): Promise<ReservedMember | null> {
    const { slot, how } = placement;
    const key = specHash(await this.context.owner(), this.launchSpec, 1, slot);
    const reservation = await (await this.reservations()).add(this.claim, { slot, key }, read);
    return reservation && { ...placement, reservation, taken: members.length + others + (how === 'launch' ? 1 : 0) };
  }

  private async reservations(): Promise<PoolReservations> {
    const { aws, store, keys, owner } = this.context;
    return new PoolReservations(store, launchKeys(keys, await owner()).reservations, () => aws.now());
  }
}

/** On a member that EC2 lists; else on one that another command is launching. */
function placeOnExisting(listed: readonly Member[], members: readonly Member[], claim: Claim): Placement | null {
  const limits = { size: 0, others: 0 };
  const there = members.filter(({ slot }) => listed.some((each) => each.slot === slot));
  return place(there, claim, limits) ?? place(members, claim, limits);
}

function poolFull({ project }: RunContext, launchSpec: PoolSpec, { members, seen, others: counted }: View): Problem {
  const { pool } = launchSpec;
  const { others } = seen;
  const coming = counted - others.length;
  const why = [
    ...(members.length ? [`${members.length} can't take this run: too few GPUs, or no answer`] : []),
    ...(others.length
      ? [
          `${others.length} ${others.length === 1 ? 'was' : 'were'} launched with another launch spec, bucket or prefix (${others.map(({ id, type }) => `${id}, ${type}`).join('; ')})`,
        ]
      : []),
    ...(coming > 0 ? [`${coming} ${coming === 1 ? 'is' : 'are'} about to be launched with another launch spec`] : []),
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
