import { createHash, randomBytes } from 'node:crypto';
import { DAY, StoreFixture } from './store.fixture';
import { formatCondemned } from './condemned';
import { PackWriter, readDirectory, renamed, type Pack } from './pack';
import { PackIndex } from './pack-index';
import { LARGEST_PACK, PackUploads } from './upload';

async function packed(content = randomBytes(100)): Promise<Pack> {
  const writer = new PackWriter(() => 6);
  writer.add([createHash('sha256').update(content).digest('hex'), content.length], content);
  return (await writer.finish())!;
}

describe('uploading a pack that is there', () => {
  let at: StoreFixture;
  beforeAll(async () => {
    at = await StoreFixture.start();
  });
  afterAll(() => at.close());
  beforeEach(() => at.empty());

  const upload = async (pack: Pack) => {
    const index = new PackIndex(at.store, at.keys(), undefined);
    const sent: string[] = [];
    const uploads = new PackUploads(at.store, at.keys(), index, {
      onSent: ({ sha256 }) => sent.push(sha256),
      onWait: () => undefined,
    });
    await uploads.send(pack);
    await uploads.settle();
    expect(index.find(pack.chunks[0][0])!.sha256).toBe(sent[0]);
    return sent[0];
  };
  const condemn = (body: Buffer) => at.store.put(at.keys().condemned, body);

  it('takes it as it is where it is not condemned, however old', async () => {
    const pack = await packed();
    expect(await upload(pack)).toBe(pack.sha256);
    at.age(100);
    expect(await upload(pack)).toBe(pack.sha256);
    await condemn(formatCondemned(new Map([['p/other', 1]]), 'test'));
    expect(await upload(pack)).toBe(pack.sha256);
    expect((await at.there()).size).toBe(2);
  });

  it('stores it under another name where it is condemned, and the same again where that is', async () => {
    const pack = await packed();
    await upload(pack);
    at.age(100);
    await condemn(formatCondemned(new Map([[`p/${pack.sha256}`, Date.now() - 8 * DAY]]), 'test'));
    const second = await upload(pack);
    expect(second).toBe(renamed(pack).sha256);
    at.age(100);
    await condemn(formatCondemned(new Map([pack.sha256, second].map((name) => [`p/${name}`, null])), 'test'));
    const third = await upload(pack);
    expect(new Set([pack.sha256, second, third]).size).toBe(3);
    const stored = (await at.store.get(at.keys().pack(third), LARGEST_PACK))!;
    expect(createHash('sha256').update(stored).digest('hex')).toBe(third);
    expect(readDirectory(stored)).toEqual(readDirectory(pack.bytes));
  });

  it.each([
    ['is damaged', '['],
    ['is of a later version', '{"v":2}'],
    ['holds something else', 'null'],
  ])('stores it under another name where the list of the condemned %s', async (_what, text) => {
    const pack = await packed();
    await upload(pack);
    at.age(100);
    await condemn(Buffer.from(text));
    expect(await upload(pack)).not.toBe(pack.sha256);
  });
});
