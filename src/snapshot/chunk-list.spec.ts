import fc from 'fast-check';
import { ChunkList, ChunkMap, type Chunk } from './chunk-list';

const name = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'));
/** Names that begin alike are looked for at the same place. */
const alike = fc.nat(300).map((number) => `00000000${number.toString(16).padStart(56, '0')}`);

describe('ChunkList', () => {
  it('holds the chunks in order, and is read from its text', () => {
    const chunk: fc.Arbitrary<Chunk> = fc.tuple(name, fc.nat(0xffffffff));
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 200 }), (chunks) => {
        const list = ChunkList.decode(ChunkList.of(chunks).encode());
        expect([...list]).toEqual(chunks);
        expect(list.length).toBe(chunks.length);
        expect(list.total).toBe(chunks.reduce((sum, [, size]) => sum + size, 0));
      }),
    );
  });

  it('is not read from half a chunk', () => {
    expect(() => ChunkList.decode(Buffer.alloc(40).toString('base64'))).toThrow('cut off');
  });
});

describe('ChunkMap', () => {
  it('answers as a Map does', () => {
    const entry = fc.tuple(fc.oneof(name, alike), fc.maxSafeNat());
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 500 }), fc.array(fc.oneof(name, alike)), (entries, others) => {
        const map = new ChunkMap();
        const expected = new Map<string, number>();
        for (const [sha256, value] of entries) {
          map.set(sha256, value);
          expected.set(sha256, value);
        }
        expect([...map]).toEqual([...expected]);
        expect(map.size).toBe(expected.size);
        for (const sha256 of [...expected.keys(), ...others]) {
          expect(map.get(sha256)).toBe(expected.get(sha256));
          expect(map.has(sha256)).toBe(expected.has(sha256));
        }
      }),
    );
  });
});
