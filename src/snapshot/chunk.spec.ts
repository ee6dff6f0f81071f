import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { Chunker, WHOLE_BYTES, type Chunk } from './chunk';
import { ChunkList } from './chunk-list';

/** Bytes that no compression shortens, the same for the same seed. */
function noise(seed: number, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let part = 0; part * 32 < size; part++) parts.push(createHash('sha256').update(`${seed} ${part}`).digest());
  return Buffer.concat(parts).subarray(0, size);
}

function recipe(data: Buffer, old?: readonly Chunk[], piece = 300_001): Chunk[] {
  const chunker = new Chunker(old && ChunkList.of(old));
  let taken = 0;
  for (let read = piece; taken < data.length; read += piece)
    taken += chunker.take(data.subarray(taken, read), read >= data.length);
  return [...chunker.list()];
}

const sizes = (chunks: readonly Chunk[]) => chunks.map(([, size]) => size);
const base = noise(1, 3 * WHOLE_BYTES);
const cut = recipe(base);

describe('Chunker', () => {
  it('cuts at the places that the format defines', () => {
    // A second implementation, byte by byte, of docs/reference/formats.md, "Cutting".
    const gear = Array.from({ length: 256 }, (_, byte) =>
      createHash('sha256').update(Buffer.of(byte)).digest().readUInt32BE(0),
    );
    const expected: number[] = [];
    for (let start = 0, at = 0, h = 0; at < base.length; at++) {
      if (at - start >= 16_384) h = Number((BigInt(h) * 2n + BigInt(gear[base[at]])) & 0xffffffffn);
      const size = at + 1 - start;
      if ((size > 16_384 && (h & 0xffff0000) === 0) || size === 262_144 || at + 1 === base.length) {
        expected.push(size);
        start = at + 1;
        h = 0;
      }
    }
    expect(sizes(cut)).toEqual(expected);
  });

  it('cuts at the same places, in whatever pieces the content is read', () => {
    for (const piece of [20_000, 65_536, 1 << 22]) expect(recipe(base, undefined, piece)).toEqual(cut);
  });

  it('gives the same recipe with an old recipe and without, however the content was edited', () => {
    const edit = fc.record({ at: fc.nat(base.length), remove: fc.nat(200_000), insert: fc.nat(200_000) });
    fc.assert(
      fc.property(fc.array(edit, { maxLength: 3 }), fc.integer({ min: 50_000, max: 1 << 21 }), (edits, piece) => {
        let data = base;
        edits.forEach(({ at, remove, insert }, index) => {
          data = Buffer.concat([data.subarray(0, at), noise(index + 2, insert), data.subarray(at + remove)]);
        });
        expect(recipe(data, cut, piece)).toEqual(recipe(data));
      }),
      { numRuns: 25 },
    );
  });

  it('changes a few chunks for an insertion in the middle', () => {
    const data = Buffer.concat([base.subarray(0, WHOLE_BYTES), noise(9, 10), base.subarray(WHOLE_BYTES)]);
    const known = new Set(cut.map(([sha256]) => sha256));
    const fresh = recipe(data, cut).filter(([sha256]) => !known.has(sha256));
    expect(fresh.reduce((sum, [, size]) => sum + size, 0)).toBeLessThan(600_000);
  });

  it('makes no cut in repeating content that it could not find again', () => {
    const data = Buffer.alloc(2 * WHOLE_BYTES);
    expect(sizes(recipe(data)).every((size) => size <= 262_144)).toBe(true);
    expect(recipe(Buffer.concat([data, data]), recipe(data))).toEqual(recipe(Buffer.concat([data, data])));
  });
});
