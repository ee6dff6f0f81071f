import type { Member, PoolLimits } from './place';
import type { Reservation } from './reservations';

/**
 * The members that EC2 lists, with the runs that commands are about to start there, and the places for which a member is
 * being launched. Reservations are not signed: one makes a place only where a command that knows of none might launch a
 * member itself, in a slot of the pool, as long as what EC2 lists leaves room.
 * @param run the run that is placed: its own reservation does not count. @param gpus how many such a member has at least;
 * null: not known.
 */
export function withReservations(
  listed: readonly Member[],
  reservations: readonly Reservation[],
  { size, others }: PoolLimits,
  { run, gpus }: { run: string; gpus: number | null },
): Member[] {
  const bySlot = new Map(listed.map((each) => [each.slot, each]));
  for (const { slot, key: _key, at: _at, ...claim } of reservations) {
    if (claim.run === run) continue;
    const mayBeLaunched = slot < size && bySlot.size + others < size;
    const launching: Member | null = mayBeLaunched ? { slot, state: 'starting', gpus, loads: [] } : null;
    const member = bySlot.get(slot) ?? launching;
    if (!member) continue;
    const isThere = member.loads.some((each) => each.run === claim.run);
    const loads = isThere ? member.loads : [...member.loads, { ...claim, granted: false }];
    bySlot.set(slot, { ...member, loads });
  }
  return [...bySlot.values()];
}
