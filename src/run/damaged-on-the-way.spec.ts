import { createHash, randomBytes } from 'node:crypto';
import { readChunks } from '../store/packs/pack-reader';
import { StoreFixture } from '../store/store.fixture';
import { readSnapshot } from '../sync/manifest/read-snapshot';
import { readArtifactList } from './record/file-lists';
import type { RunRecord } from './record/record';
import { recordOf } from './record/saved-run.fixture';
import { SEGMENT_BYTES, StoredLog } from './record/stored-log';

const sha256 = (data: Buffer) => createHash('sha256').update(data).digest('hex');

/** What a proxy or a disk between S3 and here does to bytes, which S3 itself holds right. */
describe('an object that is damaged on the way', () => {
  let at: StoreFixture;
  beforeAll(async () => (at = await StoreFixture.start()));
  afterAll(() => at.close());
  afterEach(() => jest.restoreAllMocks());

  /** Flips a byte of so many answers. @returns how many were read. */
  const damage = (times: number) => {
    const seen = { reads: 0 };
    const flip = (bytes: Buffer | null | undefined) => {
      if (bytes && seen.reads++ < times) bytes[Math.min(12, bytes.length - 1)] ^= 0x40;
    };
    const { store } = at;
    const [get, suffix, from] = [store.getWithETag, store.getSuffix, store.getFrom].map((each) => each.bind(store));
    jest.spyOn(store, 'getWithETag').mockImplementation(async (...asked) => {
      const stored = await (get as typeof store.getWithETag)(...asked);
      flip(stored?.bytes);
      return stored;
    });
    jest.spyOn(store, 'getSuffix').mockImplementation(async (...asked) => {
      const bytes = await (suffix as typeof store.getSuffix)(...asked);
      flip(bytes);
      return bytes;
    });
    jest.spyOn(store, 'getFrom').mockImplementation(async (...asked) => {
      const bytes = await (from as typeof store.getFrom)(...asked);
      flip(bytes);
      return bytes;
    });
    return seen;
  };

  type Case = [string, string, () => Promise<{ read: () => Promise<unknown>; whole: unknown; key: string }>];
  const cases: Case[] = [
    [
      'a pack',
      'PACK_MISMATCH',
      async () => {
        const content = randomBytes(40);
        const pack = await at.pack(content);
        const read = async () => {
          const found: Buffer[] = [];
          const onChunk = async (_: string, data: Buffer) => void found.push(Buffer.from(data));
          const name = { sha256: pack.sha256, size: pack.bytes.length };
          expect(await readChunks(at.store, at.keys(), name, { isWanted: () => true, onChunk })).toBe(true);
          return found;
        };
        return { read, whole: [content], key: pack.sha256 };
      },
    ],
    [
      'a manifest',
      'SNAPSHOT_INVALID',
      async () => {
        const { id } = await at.manifest([await at.pack()]);
        return { read: async () => (await readSnapshot(at.store, at.keys(), id)).snapshot.id, whole: id, key: id };
      },
    ],
    [
      'a list of artifacts',
      'LIST_MISMATCH',
      async () => {
        const list = { v: 1, files: [], extra: [], unsaved: [], skipped: [] };
        const bytes = Buffer.from(JSON.stringify(list));
        const record = recordOf();
        const key = `${at.keys().run(record.id)}artifacts.json`;
        await at.store.put(key, bytes);
        record.artifacts = { state: 'saved', sha256: sha256(bytes) } as RunRecord['artifacts'];
        return { read: () => readArtifactList(at.store, at.keys(), record), whole: list, key };
      },
    ],
    [
      'a segment of a log',
      'LOG_CHANGED',
      async () => {
        const bytes = Buffer.alloc(SEGMENT_BYTES, 'line\n');
        const record = recordOf();
        const key = `${at.keys().run(record.id)}log/0`;
        await at.store.put(key, bytes);
        record.log.size = bytes.length;
        record.log.hashes = { folded: 0, chain: '0'.repeat(64), segments: [sha256(bytes)] };
        const read = async () => {
          const found: Buffer[] = [];
          for await (const each of new StoredLog(at.store, at.keys(), record).verified(record, 0)) found.push(each);
          return Buffer.concat(found);
        };
        return { read, whole: bytes, key };
      },
    ],
  ];

  it.each(cases)('is read again: %s', async (_, __, make) => {
    const { read, whole } = await make();
    damage(2);
    expect(await read()).toEqual(whole);
  });

  it.each(cases)('fails if it stays so, and is named: %s', async (_, code, make) => {
    const { read, key } = await make();
    const seen = damage(Infinity);
    await expect(read()).rejects.toMatchObject({ code, message: expect.stringContaining(key) });
    expect(seen.reads).toBe(3);
  });
});
