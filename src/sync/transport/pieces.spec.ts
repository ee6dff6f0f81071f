import fc from 'fast-check';
import { PieceList, type Piece } from './pieces';

const piece: fc.Arbitrary<Piece> = fc.record({
  path: fc.constantFrom('a', 'b', 'c'),
  offset: fc.maxSafeNat(),
  chunk: fc.tuple(
    fc.nat(20).map((number) => number.toString(16).padStart(64, '0')),
    fc.nat(0xffffffff),
  ),
});

describe('PieceList', () => {
  it('holds pieces as an array does', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 200 }), fc.nat(20), (pieces, unwanted) => {
        const list = new PieceList();
        for (const each of pieces) list.push(each);
        expect([...list]).toEqual(pieces);
        expect(list.total).toBe(pieces.reduce((sum, { chunk }) => sum + chunk[1], 0));
        const name = unwanted.toString(16).padStart(64, '0');
        const some = list.filter((chunk) => chunk !== name);
        const expected = pieces.filter(({ chunk }) => chunk[0] !== name);
        expect([...some]).toEqual(expected);
        expect([some.length, some.total]).toEqual([
          expected.length,
          expected.reduce((sum, { chunk }) => sum + chunk[1], 0),
        ]);
      }),
    );
  });
});
