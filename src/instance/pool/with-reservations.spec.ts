import fc from 'fast-check';
import { place, type Claim, type Member } from './place';
import type { Reservation } from './reservations';
import { withReservations } from './with-reservations';

const RUNS = ['mine', 'a', 'b', 'c'];
const run = fc.constantFrom(...RUNS);
const reserves = {
  exclusive: fc.boolean(),
  gpus: fc.oneof(fc.integer({ min: 0, max: 8 }), fc.constant(1_000)),
  priority: fc.oneof(
    fc.integer({ min: -2, max: 2 }),
    fc.constantFrom(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  ),
};
const slot = fc.integer({ min: 0, max: 7 });
const reservation: fc.Arbitrary<Reservation> = fc.record({
  run,
  ...reserves,
  slot: fc.oneof(slot, fc.integer({ min: 0, max: 1_000 })),
  key: fc.constant('k'),
  at: fc.nat(),
});
const member: fc.Arbitrary<Member> = fc.record({
  slot,
  state: fc.constantFrom<Member['state']>('running', 'starting', 'silent'),
  gpus: fc.option(fc.constantFrom(0, 4, 8)),
  loads: fc.array(fc.record({ run, ...reserves, granted: fc.boolean() }), { maxLength: 3 }),
});
const pools = fc.record({
  listed: fc.uniqueArray(member, { selector: (each) => each.slot, maxLength: 6 }),
  reservations: fc.array(reservation, { maxLength: 30 }),
  limits: fc.record({ size: fc.integer({ min: 1, max: 6 }), others: fc.integer({ min: 0, max: 3 }) }),
  gpus: fc.option(fc.constantFrom(0, 4, 8)),
});
const claims: fc.Arbitrary<Claim> = fc.record({
  ...reserves,
  gpus: fc.integer({ min: 0, max: 8 }),
  run: fc.constant('mine'),
});

describe('reservations, which anyone who may write to the bucket can forge,', () => {
  it('never have a command launch a member for which EC2 leaves no room in the size', () => {
    fc.assert(
      fc.property(pools, claims, ({ listed, reservations, limits, gpus }, claim) => {
        const members = withReservations(listed, reservations, limits, { run: 'mine', gpus });
        for (const size of [limits.size, 0]) {
          const chosen = place(members, claim, { ...limits, size });
          // What is not listed is launched, whether it has room or the run would wait there.
          if (!chosen || listed.some((each) => each.slot === chosen.slot)) continue;
          expect(chosen.slot).toBeLessThan(limits.size);
          expect(listed.length + limits.others + 1).toBeLessThanOrEqual(limits.size);
        }
      }),
      { numRuns: 5_000 },
    );
  });

  it('add only runs to members that EC2 lists, and places only up to the size', () => {
    fc.assert(
      fc.property(pools, ({ listed, reservations, limits, gpus }) => {
        const members = withReservations(listed, reservations, limits, { run: 'mine', gpus });
        for (const each of listed) {
          const { loads, ...rest } = members.find((other) => other.slot === each.slot)!;
          expect({ ...rest, loads: loads.slice(0, each.loads.length) }).toEqual(each);
        }
        const most = Math.max(listed.length, limits.size - limits.others);
        expect(members.length).toBeLessThanOrEqual(most);
      }),
      { numRuns: 2_000 },
    );
  });

  it('leave a run a member that can take it, if EC2 lists one', () => {
    fc.assert(
      fc.property(pools, claims, ({ listed, reservations, limits, gpus }, claim) => {
        if (place(listed, claim, { ...limits, size: 0 }) === null) return;
        const members = withReservations(listed, reservations, limits, { run: 'mine', gpus });
        expect(place(members, claim, limits)).not.toBeNull();
      }),
      { numRuns: 2_000 },
    );
  });

  it('of commands that launch count as members, each slot once', () => {
    const of = (name: string, at: number): Reservation => {
      return { run: name, slot: at, key: 'k', exclusive: true, gpus: 0, priority: 0, at: 0 };
    };
    const limits = { size: 3, others: 1 };
    const options = { run: 'mine', gpus: null };
    const found = withReservations([], [of('a', 0), of('b', 0), of('mine', 1)], limits, options);
    expect(found.map((each) => [each.slot, each.loads.length])).toEqual([[0, 2]]);
    const claim = { run: 'mine', exclusive: true, gpus: 0, priority: 0 };
    expect(place(found, claim, limits)).toEqual({ how: 'launch', slot: 1, before: 0 });
    const full = withReservations([], [of('a', 0), of('b', 1)], limits, options);
    expect(place(full, claim, limits)?.how).toBe('queue');
  });
});
