import fc from 'fast-check';
import { byRank } from './ranks';

const of = (...ids: string[]) => ids.map((id) => ({ id }));

describe('The ranks of instances', () => {
  it('are in the order of the launch at first', () => {
    expect(byRank(of('b', 'a', 'c'))).toEqual(of('b', 'a', 'c'));
  });

  it('stay as they were for those that an attempt before had', () => {
    const before = [
      { rank: 0, instance: 'a' },
      { rank: 1, instance: 'b' },
      { rank: 2, instance: 'c' },
    ];
    expect(byRank(of('b', 'c', 'new'), before)).toEqual(of('new', 'b', 'c'));
    expect(byRank(of('new', 'a', 'c'), before)).toEqual(of('a', 'new', 'c'));
    expect(byRank(of('x', 'y', 'c'), before)).toEqual(of('x', 'y', 'c'));
  });

  it('have no gap if there are fewer', () => {
    const before = ['a', 'b', 'c', 'd'].map((instance, rank) => ({ rank, instance }));
    expect(byRank(of('a', 'c', 'd'), before)).toEqual(of('a', 'd', 'c'));
    expect(byRank(of('b', 'd'), before)).toEqual(of('d', 'b'));
  });

  it('are each given once, whatever an attempt before says', () => {
    const id = fc.constantFrom('a', 'b', 'c', 'd', 'e');
    const before = fc.array(fc.record({ rank: fc.nat(6), instance: id }));
    fc.assert(
      fc.property(fc.uniqueArray(id), before, (ids, ranks) => {
        const ordered = byRank(of(...ids), ranks);
        expect(ordered.map((each) => each.id).sort()).toEqual([...ids].sort());
      }),
    );
  });
});
