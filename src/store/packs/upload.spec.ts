import { createHash, randomBytes } from 'node:crypto';
import { DAY, StoreFixture } from '../store.fixture';
import { formatPendingDeletes } from '../pending-deletes';
import { PackWriter, readDirectory, renamed, type Pack } from './pack';
import { PackIndex } from './pack-index';
import type { Store } from '../store';
import { MAX_PACK_BYTES, PackUploads } from './upload';

async function packed(content = randomBytes(100)): Promise<Pack> {
  const writer = new PackWriter(() => 6);
  writer.add([createHash('sha256').update(content).digest('hex'), content.length], content);
  return (await writer.finish())!;
}

describe('uploading a pack that is stored already', () => {
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
  const markForDeletion = (body: Buffer) => at.store.put(at.keys().pendingDeletes, body);

  it('uses the stored pack if it is not pending deletion, however old', async () => {
    const pack = await packed();
    expect(await upload(pack)).toBe(pack.sha256);
    at.age(100);
    expect(await upload(pack)).toBe(pack.sha256);
    await markForDeletion(formatPendingDeletes(new Map([['p/other', 1]]), 'test'));
    expect(await upload(pack)).toBe(pack.sha256);
    expect((await at.there()).size).toBe(2);
  });

  it('stores it under another name if it is pending deletion, and under a third if that is as well', async () => {
    const pack = await packed();
    await upload(pack);
    at.age(100);
    await markForDeletion(formatPendingDeletes(new Map([[`packs/${pack.sha256}`, Date.now() - 8 * DAY]]), 'test'));
    const second = await upload(pack);
    expect(second).toBe(renamed(pack).sha256);
    at.age(100);
    await markForDeletion(
      formatPendingDeletes(new Map([pack.sha256, second].map((name) => [`packs/${name}`, null])), 'test'),
    );
    const third = await upload(pack);
    expect(new Set([pack.sha256, second, third]).size).toBe(3);
    const stored = (await at.store.get(at.keys().pack(third), MAX_PACK_BYTES))!;
    expect(createHash('sha256').update(stored).digest('hex')).toBe(third);
    expect(readDirectory(stored)).toEqual(readDirectory(pack.bytes));
  });

  it.each([
    ['is damaged', '['],
    ['is of a later version', '{"v":2}'],
    ['holds something else', 'null'],
  ])('stores it under another name if the list of pending deletes %s', async (_what, text) => {
    const pack = await packed();
    await upload(pack);
    at.age(100);
    await markForDeletion(Buffer.from(text));
    expect(await upload(pack)).not.toBe(pack.sha256);
  });

  it('reports the bytes on their way, and never fewer when they are sent again', async () => {
    const pack = await packed();
    const whole = pack.chunks.reduce((sum, [, size]) => sum + size, 0);
    const lost = Object.assign(new Error('cut off'), { code: 'ECONNRESET' });
    const { length } = pack.bytes;
    const attempts = [[length / 2, lost], [length / 4, lost], [length]] as const;
    let attempt = 0;
    const store = {
      putContentAddressed: async (...args: Parameters<Store['putContentAddressed']>) => {
        const [bytes, error] = attempts[attempt++];
        args[3]!.onWritten!(bytes);
        if (error) throw error;
        return { how: 'new', age: 0 };
      },
    } as unknown as Store;
    const told: number[] = [];
    const index = new PackIndex(at.store, at.keys(), undefined);
    const uploads = new PackUploads(store, at.keys(), index, {
      onSent: () => undefined,
      onWait: () => undefined,
      onProgress: (bytes) => told.push(bytes),
    });
    await uploads.send(pack);
    await uploads.settle();
    expect(told).toEqual([Math.floor(whole / 2), whole]);
  });
});
