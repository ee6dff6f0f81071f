import fc from 'fast-check';
import { compareValues } from './values';

describe('the difference of two values', () => {
  it('is listed path by path', () => {
    const before = { args: ['--epochs', '3'], resources: { gpus: 1, exclusive: false }, memory: 5 };
    const after = { args: ['--epochs', '5'], resources: { gpus: 2, exclusive: false }, 'a.b': null };
    expect(compareValues(before, after)).toEqual([
      { path: '"a.b"', before: undefined, after: null },
      { path: 'args', before: ['--epochs', '3'], after: ['--epochs', '5'] },
      { path: 'memory', before: 5, after: undefined },
      { path: 'resources.gpus', before: 1, after: 2 },
    ]);
  });

  it('is empty for equal values only, in either order', () => {
    const json = fc.jsonValue({ noUnicodeString: false }) as fc.Arbitrary<unknown>;
    fc.assert(
      fc.property(json, json, (a, b) => {
        const copy: unknown = JSON.parse(JSON.stringify(a));
        expect(compareValues(a, copy)).toEqual([]);
        const there = compareValues({ a }, { a: b });
        const back = compareValues({ a: b }, { a });
        expect(back.map(({ path }) => path)).toEqual(there.map(({ path }) => path));
        expect(new Set(there.map(({ path }) => path)).size).toBe(there.length);
        if (!there.length) expect(JSON.parse(JSON.stringify(b))).toEqual(copy);
      }),
    );
  });
});
