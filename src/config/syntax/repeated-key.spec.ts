import fc from 'fast-check';
import { repeatedKey } from './repeated-key';

describe('a key that is written twice', () => {
  it.each([
    ['{"a": 1,\n "b": 2,\n "a": 3}', 'a', 3],
    ['{"x": [{"a": 1}, {"a": 1, "\\u0061": 2}]}', 'a', 1],
    ['{"a": {"a": "a"},\n/* "b": 1,\n "b": 2 */ "c": 1, // "c"\n "c": 2,}', 'c', 4],
    ['{"__proto__": 1, "__proto__": 2}', '__proto__', 1],
  ])('is found: %s', (text, key, line) => expect(repeatedKey(text)).toEqual({ key, line }));

  it('is none of a value, of another object, or in a comment', () => {
    for (const text of ['{"a": "a", "b": ["a", "a"], "c": {"a": 1}}', '{"a": "\\"a\\": 1"} // "a": 2', '"a"', '[]'])
      expect(repeatedKey(text)).toBeNull();
  });

  it('is not in what JSON.stringify writes, and is in it once any key is repeated', () => {
    const objects = fc.dictionary(fc.string(), fc.jsonValue(), { minKeys: 1 });
    fc.assert(
      fc.property(objects, fc.nat(), (object, n) => {
        const text = JSON.stringify(object, null, 1);
        expect(repeatedKey(text)).toBeNull();
        const key = Object.keys(object)[n % Object.keys(object).length];
        expect(repeatedKey(`${text.slice(0, -1)}, ${JSON.stringify(key)}: 1}`)?.key).toBe(key);
      }),
    );
  });
});
