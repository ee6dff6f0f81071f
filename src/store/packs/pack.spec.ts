import { createHash, randomBytes } from 'node:crypto';
import { inflateSync } from 'node:zlib';
import fc from 'fast-check';
import { PackWriter, readDirectory, type Pack } from './pack';
import { formatIndex, indexName, parseIndex } from './index-format';

const sha256 = (data: Buffer) => createHash('sha256').update(data).digest('hex');

async function packed(contents: Buffer[], level = 6): Promise<Pack> {
  const writer = new PackWriter(() => level);
  for (const content of contents) writer.add([sha256(content), content.length], content);
  return (await writer.finish())!;
}

/** Reads a pack as docs/reference/formats.md has it. */
function unpacked({ bytes }: Pack): Buffer[] {
  return readDirectory(bytes).flatMap(([offset, stored, form, chunks]) => {
    const part = bytes.subarray(offset, offset + stored);
    const raw = form === 'z' ? inflateSync(part) : part;
    let at = 0;
    return chunks.map(([, size]) => raw.subarray(at, (at += size)));
  });
}

describe('a pack', () => {
  it('returns the content that was added, and is named by its hash', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 3_000 }), { minLength: 1 }),
        fc.nat(9),
        async (all, level) => {
          const contents = all.map((each) => Buffer.from(each));
          const pack = await packed(contents, level);
          expect(pack.sha256).toBe(sha256(pack.bytes));
          expect(Buffer.concat(unpacked(pack)).equals(Buffer.concat(contents))).toBe(true);
          expect(pack.chunks.map(([name]) => name)).toEqual(contents.map(sha256));
        },
      ),
    );
  });

  it('compresses only content that becomes shorter', async () => {
    const text = Buffer.from('loss = criterion(model(x), y)\n'.repeat(40_000));
    const noise = randomBytes(600_000);
    const forms = readDirectory((await packed([text, noise])).bytes).map(([, stored, form]) => [form, stored]);
    expect(forms).toEqual([
      ['z', expect.any(Number)],
      ['r', 600_000],
    ]);
    expect(forms[0][1]).toBeLessThan(text.length / 50);
  });

  it('keeps its bytes until it is released, whatever is added to the next packs', async () => {
    const writer = new PackWriter(() => 1);
    const make = async () => {
      const noise = randomBytes(700_000);
      writer.add([sha256(noise), noise.length], noise);
      const small = [randomBytes(300_000), randomBytes(300_000)];
      for (const each of small) writer.add([sha256(each), each.length], each);
      const pack = (await writer.finish())!;
      return { pack, content: Buffer.concat([noise, ...small]) };
    };
    const held = await make();
    const size = held.pack.bytes.length;
    for (let turn = 0; turn < 3; turn++) {
      const { pack, content } = await make();
      expect(Buffer.concat(unpacked(pack)).equals(content)).toBe(true);
      pack.release();
    }
    expect(sha256(held.pack.bytes)).toBe(held.pack.sha256);
    expect(held.pack.size).toBe(size);
  });

  it('contains what was added before it was finished, however much is added meanwhile', async () => {
    const writer = new PackWriter(() => 1);
    const first = Buffer.from('first');
    const second = Buffer.from('second');
    writer.add([sha256(first), first.length], first);
    const finishing = writer.finish();
    writer.add([sha256(second), second.length], second);
    expect(Buffer.concat(unpacked((await finishing)!))).toEqual(first);
    expect(Buffer.concat(unpacked((await writer.finish())!))).toEqual(second);
    expect(await writer.finish()).toBeNull();
  });
});

describe('an index', () => {
  it('is parsed as it was written', () => {
    const name = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'));
    const pack = fc.record({ sha256: name, size: fc.nat(), chunks: fc.array(name, { minLength: 1 }) });
    fc.assert(fc.property(fc.array(pack), (packs) => expect(parseIndex(formatIndex(packs))).toEqual(packs)));
  });

  it('is refused if it is truncated or is something else', () => {
    expect(() => parseIndex(Buffer.from('x'))).toThrow();
    expect(() => readDirectory(Buffer.from('no pack at all'))).toThrow('not a pack');
  });

  it('has a name that sorts by time', () => {
    const early = indexName(Buffer.of(1), new Date('2026-11-24T01:02:03.004Z'));
    expect(early).toMatch(/^20261124T010203004-[0-9a-f]{16}$/);
    expect(indexName(Buffer.of(0), new Date('2026-11-24T01:02:03.005Z')) > early).toBe(true);
  });
});
