import { deflateSync } from 'node:zlib';
import fc from 'fast-check';
import { inflate, MAX_JSON_VALUES, parseJson, TooLarge } from './bounded';

describe('inflate', () => {
  it('returns all bytes up to the limit exactly, and refuses one byte more', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 1000 }), (bytes) => {
        const data = deflateSync(bytes);
        expect(inflate(data, bytes.length).equals(bytes)).toBe(true);
        if (bytes.length > 1) expect(() => inflate(data, bytes.length - 1)).toThrow(TooLarge);
      }),
    );
  });

  it('refuses a small stream that inflates to a huge one', () => {
    expect(() => inflate(deflateSync(Buffer.alloc(2 ** 25)), 2 ** 20)).toThrow(
      'it holds more than 1,048,576 inflated bytes',
    );
  });

  it.each([
    ['no zlib stream', Buffer.from('{}')] as const,
    ['a stream that is cut', deflateSync('abc').subarray(0, 5)] as const,
  ])('refuses %s with another error', (_name, data) => {
    expect(() => inflate(data, 100)).toThrow(/incorrect header|end of file/);
    expect(() => inflate(data, 100)).not.toThrow(TooLarge);
  });
});

describe('parseJson', () => {
  it('parses as JSON does', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        expect(parseJson(Buffer.from(text))).toEqual(JSON.parse(text));
      }),
    );
  });

  it('parses a long text, and refuses as many bytes of tiny values', () => {
    const long = `"${'x'.repeat(MAX_JSON_VALUES * 2)}"`;
    expect(parseJson(Buffer.from(long))).toHaveLength(MAX_JSON_VALUES * 2);
    for (const value of ['[]', '{}', '0'])
      expect(() => parseJson(Buffer.from(`[${`${value},`.repeat(MAX_JSON_VALUES + 1)}0]`))).toThrow(TooLarge);
  });
});
