import { hash, randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import { takeInventory } from '../prune/inventory';
import { prune } from '../prune/prune';
import { Snapshot } from '../snapshot/snapshot';
import { readPendingDeletes } from '../store/pending-deletes';
import { PackIndex } from '../store/packs/pack-index';
import { readChunks } from '../store/packs/pack-reader';
import { DAY, StoreFixture } from '../store/store.fixture';
import { readHead } from '../sync/manifest/head';
import { readSnapshot } from '../sync/manifest/read-snapshot';
import { seal, unseal } from '../watch/message-signature';
import { findDuplicateRun } from './find/find-run';
import { readRecord } from './record/record';
import { readArtifactList, readCheckpoint } from './record/file-lists';
import { putRecord, recordOf, RUN } from './record/saved-run.fixture';
import { SEGMENT_BYTES, StoredLog } from './record/stored-log';
import type { RunContext } from '../context/types';
import type { SyncContext } from '../sync/context';
import { inflated } from './follow/log-piece';

const MB = 2 ** 20;
/** Inflates to more than any limit. */
const bomb = deflateSync(Buffer.alloc(257 * MB, ' '));
const sha256 = (bytes: Buffer) => hash('sha256', bytes, 'hex');

/** Objects that are too large, or inflate to too much, of each kind: none is read further than its limit. */
describe('limits', () => {
  let at: StoreFixture;
  beforeAll(async () => (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(() => at.empty());
  const put = (key: string, bytes: Buffer) => at.store.put(key, bytes);
  const large = (size: number) => Buffer.alloc(size + 1, ' ');
  const context = () => ({ store: at.store, keys: at.keys() }) as unknown as RunContext;

  it('of the store: no more is read than is asked for, and the error names the object, its size and the limit', async () => {
    await put('a', large(10));
    const error = {
      code: 'STORE_TOO_LARGE',
      message: expect.stringContaining('s3://bucket/a is too large: it has 11 bytes, its limit is 10 bytes.'),
    };
    await expect(at.store.get('a', 10)).rejects.toMatchObject(error);
    await expect(at.store.getWithETag('a', 10)).rejects.toMatchObject(error);
    await expect(at.store.getIfChanged('a', 10, undefined)).rejects.toMatchObject(error);
    expect(await at.store.get('a', 11)).toHaveLength(11);
    expect(await at.store.getFrom('a', 2, 5)).toHaveLength(3);
    expect(await at.store.getFrom('a', 11, 20)).toHaveLength(0);
    expect(await at.store.getSuffix('a', 4)).toHaveLength(4);
  });

  it('of lists: they end where there is more than can be', async () => {
    for (const name of ['a/x', 'b/x', 'c/x']) await put(name, Buffer.from('x'));
    expect(await at.store.list('', 3)).toHaveLength(3);
    await expect(at.store.list('', 2)).rejects.toMatchObject({ code: 'STORE_TOO_MANY' });
    expect(await at.store.listDirectories('', 3)).toHaveLength(3);
    await expect(at.store.listDirectories('', 2)).rejects.toMatchObject({ code: 'STORE_TOO_MANY' });
    const [one, two, three] = await at.store.listDirectories('', 3);
    expect(await at.store.listFirstDirectories('', 2)).toEqual({ names: [one, two], isPartial: true });
    expect(await at.store.listFirstDirectories('', 2, two)).toEqual({ names: [two, three], isPartial: false });
    const inventory = (objects: number, memory = Infinity) =>
      takeInventory(at.store, '', () => undefined, { objects, memory });
    await expect(inventory(2)).rejects.toMatchObject({ code: 'STORE_TOO_MANY' });
    expect((await inventory(3)).unknown.count).toBe(3);
    await put('packs/' + 'a'.repeat(64), Buffer.from('x'));
    await expect(inventory(4, 500)).rejects.toMatchObject({
      code: 'STORE_TOO_MANY',
      message: expect.stringContaining('max-old-space-size'),
    });
    expect((await inventory(4, 600)).items.size).toBe(1);
  });

  it('of runs: keys beside them count as well, since each page of them costs a request', async () => {
    for (const name of ['a', 'b', 'c/x']) await put(at.keys().run('') + name, Buffer.from('x'));
    const prefix = at.keys().run('');
    expect(await at.store.listDirectories(prefix, 3)).toEqual(['c']);
    await expect(at.store.listDirectories(prefix, 2)).rejects.toMatchObject({ code: 'STORE_TOO_MANY' });
    expect((await at.store.listFirstDirectories(prefix, 2)).isPartial).toBe(true);
  });

  it('of indexes: a client ignores one that inflates to too much, names it, and prune replaces it', async () => {
    const pack = await at.pack();
    const index = await at.index([pack]);
    const bad = at.keys().index(`20260101T000000000-${'0'.repeat(16)}`);
    await put(bad, deflateSync(Buffer.concat([Buffer.from('NX-EC2 index 1\n'), Buffer.alloc(2 * MB)])));
    const warnings: string[] = [];
    const known = new PackIndex(at.store, at.keys(), undefined, (text) => warnings.push(text));
    await known.refresh();
    expect(known.find(pack.chunks[0][0])?.sha256).toBe(pack.sha256);
    expect(warnings).toEqual([
      expect.stringMatching(new RegExp(`^The index ${bad} .* can't be read: it holds more than`)),
    ]);

    const snapshot = await at.manifest([pack]);
    await at.ref([snapshot]);
    const limits = {
      olderThan: 7 * DAY,
      refsOlderThan: 90 * DAY,
      keepSnapshots: 20,
      runsOlderThan: 90 * DAY,
      keepRuns: 20,
    };
    const pruned = await prune(at.store, 'team', { ...limits, apply: true });
    expect(pruned.damaged).toEqual([bad.slice(bad.indexOf('indexes/'))]);
    const there = await at.there();
    expect(there.has(bad)).toBe(false);
    expect(await at.found(pack)).toBe(pack.sha256);
    expect(there.has(index) || pruned.indexes.to > 0).toBe(true);
  });

  it('of packs: their directory, and their segments', async () => {
    const name = sha256(Buffer.from('x'));
    const tail = (directory: Buffer) => {
      const end = Buffer.alloc(8);
      end.writeUInt32BE(directory.length);
      end.write('NXP1', 4, 'latin1');
      return Buffer.concat([directory, end]);
    };
    const segments = [[0, bomb.length, 'z', [[name, 1]]]];
    const packs = [tail(bomb), Buffer.concat([bomb, tail(deflateSync(JSON.stringify({ v: 1, segments })))])];
    for (const bytes of packs) {
      const pack = { sha256: sha256(bytes), size: bytes.length };
      await put(at.keys().pack(pack.sha256), bytes);
      const read = readChunks(at.store, at.keys(), pack, {
        isWanted: (chunk) => chunk === name,
        onChunk: async () => undefined,
      });
      await expect(read).rejects.toMatchObject({ code: 'PACK_MISMATCH' });
    }
  });

  it('of manifests: one that inflates to too much, or holds too many values, is not valid', async () => {
    const tiny = deflateSync(`[${'[],'.repeat(9 * MB)}0]`);
    for (const bytes of [bomb, tiny]) {
      const { id } = Snapshot.of([{ kind: 'directory', path: randomBytes(4).toString('hex') }]);
      await put(at.keys().manifest(id), bytes);
      await expect(readSnapshot(at.store, at.keys(), id)).rejects.toMatchObject({
        code: 'SNAPSHOT_INVALID',
        message: expect.stringContaining('it holds more than'),
      });
      await put(
        at.keys().ref('tree', 'i-1'),
        Buffer.from(JSON.stringify({ v: 2, snapshot: id, history: [id], runtime: 'x' })),
      );
      const context = { store: at.store, keys: at.keys(), tree: 'tree' } as unknown as SyncContext;
      expect(await readHead(context, 'i-1')).toBeNull();
    }
  });

  it('of refs, of keys and of the list of pending deletes: they count as damaged', async () => {
    await put(at.keys().ref('tree', 'i-1'), large(64 * 1024));
    expect(
      await readHead({ store: at.store, keys: at.keys(), tree: 'tree' } as unknown as SyncContext, 'i-1'),
    ).toBeNull();
    await put(at.keys().key('k'), large(64 * 1024));
    expect(await findDuplicateRun(context(), 'k')).toEqual({ found: null, known: null });
    await put(at.keys().pendingDeletes, large(64 * MB));
    expect(await readPendingDeletes(at.store, at.keys().pendingDeletes)).toMatchObject({
      damaged: true,
      etag: expect.any(String),
    });
  });

  it('of runs: their records, and lists that hold too many values', async () => {
    await put(`${at.keys().run(RUN)}record.json`, large(MB));
    await expect(readRecord(at.store, at.keys(), RUN)).rejects.toMatchObject({ code: 'STORE_TOO_LARGE' });
    const list = Buffer.from(`[${'[],'.repeat(9 * MB)}0]`);
    const artifacts = {
      state: 'saved',
      sha256: sha256(list),
      files: 1,
      bytes: 1,
      unsaved: 0,
      extra: null,
      error: null,
    } as const;
    const checkpoints = [{ n: 1, unit: 'u', sha256: sha256(list), size: 1, files: 1, at: 1, attempt: 1 }];
    const record = recordOf({ artifacts, checkpoints });
    await putRecord(at.store, at.keys(), record);
    await put(`${at.keys().run(RUN)}artifacts.json`, list);
    await put(`${at.keys().run(RUN)}checkpoint/1.json`, list);
    const refused = { code: 'LIST_MISMATCH', message: expect.stringContaining('holds more than') };
    await expect(readArtifactList(at.store, at.keys(), record)).rejects.toMatchObject(refused);
    await expect(readCheckpoint(at.store, at.keys(), record, 1)).rejects.toMatchObject(refused);
  });

  it('of logs: no more than a segment is read of one, and missing segments are not searched for', async () => {
    const log = new StoredLog(at.store, at.keys(), { id: RUN });
    await put(`${at.keys().run(RUN)}log/0`, Buffer.alloc(3 * SEGMENT_BYTES, 'a\n'));
    expect(await log.read(0)).toHaveLength(SEGMENT_BYTES);
    expect(await log.read(SEGMENT_BYTES - 10)).toHaveLength(10);
    expect(await log.tail(5, Number.MAX_SAFE_INTEGER)).toBe(Number.MAX_SAFE_INTEGER);
    for (const times of [large(256 * 1024), Buffer.from('{'), Buffer.from('{"times":[1,null]}')]) {
      await put(`${at.keys().run(RUN)}times.json`, times);
      const read = await log.times().catch((error: { code: string }) => error.code);
      expect(read).toEqual(times.length > 1000 ? 'STORE_TOO_LARGE' : []);
    }
  });

  it('of replies of an instance: a piece of a log, and a message of a watcher', () => {
    const piece = { offset: 0, length: 5, size: 5, data: bomb.toString('base64') };
    expect(() => inflated(piece)).toThrow(expect.objectContaining({ code: 'REPLY_INVALID' }));
    const by = { watchId: 's', key: randomBytes(32) };
    const message = seal(by, 'ack', 1, { text: ' '.repeat(2 * MB) });
    expect(() => unseal(by, 'ack', 1, message)).toThrow('it holds more than 1,048,576 inflated bytes');
  });
});
