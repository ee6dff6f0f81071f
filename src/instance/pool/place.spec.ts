import fc from 'fast-check';
import { hasRoom, place, runsBefore, type Claim, type Load, type Member } from './place';

const reserves = fc.oneof(
  fc.constant({ exclusive: true, gpus: 0 }),
  fc.record({ exclusive: fc.constant(false), gpus: fc.integer({ min: 0, max: 8 }) }),
);
const priority = fc.integer({ min: -2, max: 2 });
const claims: fc.Arbitrary<Claim> = fc
  .record({ reserved: reserves, priority })
  .map((each) => ({ run: 'mine', ...each.reserved, priority: each.priority }));
const load: fc.Arbitrary<Load> = fc
  .record({ reserved: reserves, priority, granted: fc.boolean() })
  .map((each) => ({ run: 'other', ...each.reserved, priority: each.priority, granted: each.granted }));
const member: fc.Arbitrary<Member> = fc.record({
  slot: fc.integer({ min: 0, max: 6 }),
  state: fc.constantFrom<Member['state']>('running', 'starting', 'silent', 'leaving'),
  gpus: fc.option(fc.constantFrom(0, 1, 4, 8)),
  loads: fc.array(load, { maxLength: 4 }),
});
const pools = fc.record({
  members: fc.uniqueArray(member, { selector: ({ slot }) => slot, maxLength: 6 }),
  limits: fc.record({ size: fc.integer({ min: 0, max: 6 }), others: fc.integer({ min: 0, max: 2 }) }),
});

/** As the queue of an instance decides it: whether two claims can't have their turn together. */
function areInEachOthersWay(one: Claim, loads: readonly Load[], gpus: number): boolean {
  const wanted = loads.reduce((sum, each) => sum + each.gpus, one.gpus);
  return loads.some((each) => each.exclusive || one.exclusive || (one.gpus > 0 && each.gpus > 0 && wanted > gpus));
}

describe('where a run of a pool goes', () => {
  it('is a member on which it has its turn at once, if there is one', () => {
    fc.assert(
      fc.property(pools, claims, ({ members, limits }, claim) => {
        const chosen = place(members, claim, limits);
        const usable = members.filter(({ state }) => state === 'running' || state === 'starting');
        expect(chosen?.how === 'room').toBe(usable.some((each) => hasRoom(each, claim)));
        if (chosen?.how !== 'room') return;
        const { state, gpus, loads } = members.find(({ slot }) => slot === chosen.slot)!;
        expect(state).not.toBe('silent');
        if (gpus !== null) expect(areInEachOthersWay(claim, loads, gpus) || claim.gpus > gpus).toBe(false);
        const runs = usable.some((each) => each.state === 'running' && hasRoom(each, claim));
        expect(state).toBe(runs ? 'running' : 'starting');
      }),
      { numRuns: 2_000 },
    );
  });

  it('is a new member in a free slot, only while there are fewer than the size', () => {
    fc.assert(
      fc.property(pools, claims, ({ members, limits }, claim) => {
        const chosen = place(members, claim, limits);
        const isFull = members.length + limits.others >= limits.size;
        if (chosen?.how === 'launch') {
          expect(isFull).toBe(false);
          expect(chosen.slot).toBeLessThan(limits.size);
          expect(members.map(({ slot }) => slot)).not.toContain(chosen.slot);
        } else if (chosen?.how !== 'room') expect(isFull).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it('is else the queue of a member that can take it, where the fewest runs are before it', () => {
    fc.assert(
      fc.property(pools, claims, ({ members, limits }, claim) => {
        const chosen = place(members, claim, limits);
        const able = members.filter(
          ({ state, gpus }) => (state === 'running' || state === 'starting') && (gpus === null || gpus >= claim.gpus),
        );
        if (chosen === null) expect(able).toEqual([]);
        if (chosen?.how !== 'queue') return;
        const each = able.find(({ slot }) => slot === chosen.slot)!;
        expect(runsBefore(each, claim)).toBe(Math.min(...able.map((other) => runsBefore(other, claim))));
      }),
      { numRuns: 2_000 },
    );
  });

  it('never puts one that comes later before one of its priority that waits for many GPUs', () => {
    const waits: Load = { run: 'big', exclusive: false, gpus: 4, priority: 0, granted: false };
    const runs: Load = { run: 'small', exclusive: false, gpus: 1, priority: 0, granted: true };
    const members: Member[] = [{ slot: 0, state: 'running', gpus: 4, loads: [runs, waits] }];
    const claim: Claim = { run: 'mine', exclusive: false, gpus: 1, priority: 0 };
    expect(place(members, claim, { size: 1, others: 0 })).toEqual({ how: 'queue', slot: 0, before: 2 });
    expect(place(members, { ...claim, priority: 1 }, { size: 1, others: 0 })).toEqual({
      how: 'queue',
      slot: 0,
      before: 1,
    });
  });

  it('is the member with the fewest free GPUs that are enough, so that others keep many together', () => {
    const taken = (gpus: number): Load => ({ run: 'other', exclusive: false, gpus, priority: 0, granted: true });
    const members: Member[] = [
      { slot: 0, state: 'running', gpus: 8, loads: [] },
      { slot: 1, state: 'running', gpus: 8, loads: [taken(5)] },
      { slot: 2, state: 'running', gpus: 8, loads: [taken(7)] },
    ];
    const claim = (gpus: number): Claim => ({ run: 'mine', exclusive: false, gpus, priority: 0 });
    expect(place(members, claim(2), { size: 3, others: 0 })?.slot).toBe(1);
    expect(place(members, claim(8), { size: 3, others: 0 })?.slot).toBe(0);
  });
});
