import { randomBytes } from 'node:crypto';
import { Aws } from '../aws/clients';
import type { RunContext } from '../context/types';
import { LaunchJournal, type LaunchState } from '../instance/launch/launch-journal';
import { readTags } from '../instance/describe/tags';
import type { Inventory } from '../instance/inventory/inventory';
import { putUnreadable, UNREADABLE } from '../local-aws/unreadable.fixture';
import { SentFiles } from '../project/sent-files';
import { prune } from '../prune/prune';
import { PackIndex } from '../store/packs/pack-index';
import { readPendingDeletes } from '../store/pending-deletes';
import { Store } from '../store/store';
import { DAY, StoreFixture } from '../store/store.fixture';
import { readHead } from '../sync/manifest/head';
import { readSnapshot } from '../sync/manifest/read-snapshot';
import type { SyncContext } from '../sync/context';
import { listActiveRuns } from './find/active-runs';
import { latestRunForKey, reserveRunKey, runsForKey } from './find/run-key-index';
import { readRunStates } from './find/run-states';
import { latestRun, readRecord, tryReadRecord } from './record/record';
import { RecordWatch } from './record/record-poller';
import { putRecord, recordOf, RUN } from './record/saved-run.fixture';
import { SEGMENT_BYTES, StoredLog } from './record/stored-log';
import { listStatus } from './status/status';

const LIMITS = { olderThan: 14 * DAY, refsOlderThan: 90 * DAY, keepSnapshots: 0, runsOlderThan: 90 * DAY, keepRuns: 0 };
const FORGED = '20991231-235959-model-aaaaaa';

/** Objects that S3 has and does not return, of each kind: whoever may write to the bucket can make them. */
describe.each(UNREADABLE)('an object that S3 does not return (%s)', (why) => {
  let at: StoreFixture;
  beforeAll(async () => (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(async () => {
    at.empty();
    await at.pack();
  });
  const spoil = (key: string) => putUnreadable(at.local, key, why);
  const context = () => ({ store: at.store, keys: at.keys() }) as unknown as RunContext;
  const signal = () => new AbortController().signal;

  it('is named in an error with AWS’s reason, and can be replaced by its ETag', async () => {
    const key = at.keys().key('x');
    await spoil(key);
    const error = await at.store.getWithETag(key, 10).catch((each: unknown) => each);
    expect(error).toMatchObject({
      code: 'STORE_UNREADABLE',
      message: expect.stringMatching(
        /S3 has s3:\/\/bucket\/team\/v2\/\S+ and does not return it\.\nAWS says: (InvalidObjectState|InvalidRequest|AccessDenied|KMS\.DisabledException): [^]*aws (s3 rm|s3api restore-object --bucket bucket --key team\/v2\/\S+ --restore-request Days=7)/,
      ),
    });
    const { etag } = error as { etag: string };
    expect(await at.store.compareAndSwap(key, Buffer.from('new'), '"other"')).toBeNull();
    expect(await at.store.compareAndSwap(key, Buffer.from('new'), etag)).not.toBeNull();
    expect((await at.store.get(key, 10))?.toString()).toBe('new');
  });

  it('as a record is one that can’t be verified: it is listed, and hides and stops nothing', async () => {
    const [store, keys] = [at.store, at.keys()];
    await putRecord(store, keys, recordOf());
    await spoil(`${keys.run(FORGED)}record.json`);
    await expect(readRecord(store, keys, FORGED)).rejects.toMatchObject({ code: 'RECORD_UNVERIFIED' });
    expect(await tryReadRecord(store, keys, FORGED)).toBeNull();
    expect((await latestRun(store, keys))!.record.id).toBe(RUN);
    const listed = await listStatus(context(), 5, signal());
    expect(listed.map(({ id, state }) => [id, state])).toEqual([
      [FORGED, 'unverified'],
      [RUN, 'ended'],
    ]);
    expect(listed[0]).toMatchObject({ why: expect.stringContaining('S3 does not return it') });
    expect(await listActiveRuns(store, keys, new Set([recordOf().instance]))).toEqual({ runs: [], unverified: [] });
  });

  it('as a record is known to be old if no instance has replaced it for a minute', async () => {
    const tags = { 'nx-ec2:store': 'bucket/team', 'nx-ec2:project': 'model', 'nx-ec2:run': FORGED };
    const instance = { id: 'i-0123456789abcdef0', state: 'running', since: Date.now(), tags };
    const inventory = { instances: [instance], fleets: [], templates: [] } as unknown as Inventory;
    const state = async () => (await readRunStates(at.store, 'team', inventory)).tagged(readTags(tags));
    await spoil(`${at.keys().run(FORGED)}record.json`);
    expect(await state()).toEqual({ is: 'unreadable' });
    at.age(1);
    expect(await state()).toEqual({ is: 'quiet' });
  });

  it('in the place of a followed record: the verified one is kept for a while', async () => {
    const [store, keys] = [at.store, at.keys()];
    await putRecord(store, keys, recordOf({ state: 'running', outcome: null }));
    const watch = new RecordWatch(store, keys, RUN, 2_000);
    await watch.look();
    await spoil(`${keys.run(RUN)}record.json`);
    expect((await watch.look())!.state).toBe('running');
    // The instance writes again.
    await putRecord(store, keys, recordOf({ heartbeat: 8 }));
    expect((await watch.look())!.state).toBe('ended');
    await spoil(`${keys.run(RUN)}record.json`);
    const until = Date.now() + 10_000;
    const end = async () => {
      while (Date.now() < until) await watch.look();
    };
    await expect(end()).rejects.toMatchObject({ code: 'RECORD_UNVERIFIED' });
  });

  it('as a segment of a log is one that is missing', async () => {
    const log = new StoredLog(at.store, at.keys(), { id: RUN });
    await at.store.put(`${at.keys().run(RUN)}log/0`, Buffer.alloc(SEGMENT_BYTES, 'x'));
    await spoil(`${at.keys().run(RUN)}log/1`);
    expect(await log.read(5)).toHaveLength(SEGMENT_BYTES - 5);
    expect(await log.read(SEGMENT_BYTES)).toHaveLength(0);
  });

  it('as a launch journal is overwritten', async () => {
    const journal = new LaunchJournal(at.store, at.keys(), 'hash');
    await spoil(journal.key);
    const stored = await journal.read();
    expect(stored).toMatchObject({ state: null, etag: expect.any(String) });
    const state: LaunchState = {
      v: 2,
      generation: '0'.repeat(16),
      at: 1,
      launchOptions: [],
      n: 0,
      refused: [],
      kept: [],
      instances: [],
    };
    expect(await journal.write(state, stored!.etag)).not.toBeNull();
    expect((await journal.read())!.state).toEqual(state);
  });

  it('as a run key names no run', async () => {
    await spoil(at.keys().key('k'));
    expect(await runsForKey(context(), 'k')).toEqual([]);
    const last = await latestRunForKey(context(), 'k');
    expect(last).toMatchObject({ run: null, record: null });
    expect(await reserveRunKey(context(), 'k', RUN, last)).toBe(true);
    expect(await runsForKey(context(), 'k')).toEqual([RUN]);
  });

  it('as a ref or a manifest is as if it were not there, or damaged', async () => {
    const snapshot = await at.manifest([await at.pack()]);
    const ref = await at.ref([snapshot]);
    const head = () =>
      readHead({ ...context(), tree: 'tree', stateDirectory: undefined } as unknown as SyncContext, 'i-1');
    expect(await head()).not.toBeNull();
    await spoil(at.keys().manifest(snapshot.id));
    expect(await head()).toBeNull();
    await expect(readSnapshot(at.store, at.keys(), snapshot.id)).rejects.toMatchObject({ code: 'SNAPSHOT_INVALID' });
    const sent = new SentFiles(at.store, at.keys(), snapshot.id);
    expect(await sent.contentOf('file', (name) => name)).toBeUndefined();
    await spoil(ref);
    expect(await head()).toBeNull();
  });

  it('as an index is ignored and named; as a pack it is replaced', async () => {
    const pack = await at.pack();
    await at.index([pack]);
    const index = await at.index([await at.pack()], new Date(Date.now() - 1_000));
    await spoil(index);
    const said: string[] = [];
    const known = new PackIndex(at.store, at.keys(), undefined, (text) => said.push(text));
    await known.refresh();
    expect(known.find(pack.chunks[0][0])?.sha256).toBe(pack.sha256);
    expect(said).toEqual([expect.stringContaining(`${index} and does not return it. It is ignored`)]);
    const key = at.keys().pack(pack.sha256);
    await putUnreadable(at.local, key, why, pack.bytes);
    expect(await at.store.hasChecksum(key, pack.sha256, pack.bytes.length)).toBe(false);
    expect((await at.store.putContentAddressed(key, pack.sha256, pack.bytes)).how).toBe('replaced');
    expect(await at.store.get(key, 1_000)).toEqual(pack.bytes);
  });

  it('is kept by prune and named, and prune continues with the rest', async () => {
    const now = () => prune(at.store, 'team', { ...LIMITS, apply: true });
    const run = await at.run('20250101-000000-model-aaaaaa', { v: 1, state: 'ended', snapshot: 's', checkpoints: [] });
    const record = `${at.keys().run(FORGED)}record.json`;
    await spoil(record);
    const key = at.keys().key('old');
    await spoil(key);
    const index = await at.index([await at.pack()]);
    await spoil(index);
    await spoil(at.keys().pendingDeletes);
    at.age(200, [...run.values(), key]);
    at.age(30, [index]);
    const pruned = await now();
    expect(pruned.unverified).toEqual([record.slice('team/v2/'.length)]);
    expect(pruned.damaged.sort()).toEqual([index, key].map((name) => name.slice('team/v2/'.length)));
    const there = await at.there();
    expect(there).toContain(record);
    for (const each of [...run.values(), key, index]) expect(there).not.toContain(each);
    expect((await readPendingDeletes(at.store, at.keys().pendingDeletes)).damaged).toBeUndefined();
  });

  it('as a manifest in use keeps prune from removing packs, which it may name', async () => {
    const packs = [await at.pack(), await at.pack()];
    const snapshot = await at.manifest([packs[0]]);
    await at.ref([snapshot]);
    await at.run('20250101-000000-model-aaaaaa', { v: 1, state: 'ended', snapshot: 's', checkpoints: [] });
    await spoil(at.keys().manifest(snapshot.id));
    at.age(50);
    const runs = await at.run('20250102-000000-model-aaaaaa', { v: 1, state: 'ended', snapshot: 's', checkpoints: [] });
    at.age(100, [...runs.values()]);
    for (let week = 0; week < 3; week++) {
      const { kinds, unreadable } = await prune(at.store, 'team', { ...LIMITS, apply: true });
      expect(unreadable).toEqual([at.keys().manifest(snapshot.id).slice('team/v2/'.length)]);
      expect([kinds.pack.pending.count, kinds.pack.removed.count]).toEqual([0, 0]);
      at.age(9);
    }
    for (const { sha256 } of packs) expect(await at.there()).toContain(at.keys().pack(sha256));
    for (const each of runs.values()) expect(await at.there()).not.toContain(each);
  });
});

describe('a caller that can read no object of the store', () => {
  let at: StoreFixture;
  let aws: Aws;
  beforeAll(async () => {
    at = await StoreFixture.start();
    aws = new Aws({});
  });
  afterAll(async () => {
    aws.close();
    await at.close();
  });

  it.each(['foreign key', 'disabled key'] as const)('is told so (%s), not that objects are damaged', async (why) => {
    const keys = at.keys();
    const record = `${keys.run(RUN)}record.json`;
    const store = new Store(aws, { bucket: 'bucket' });
    for (const key of [record, keys.pack('a'), keys.runtime('b'), keys.index('c')])
      await putUnreadable(at.local, key, why, randomBytes(4));
    for (const reading of [
      readRecord(store, keys, RUN),
      latestRun(store, keys),
      prune(store, 'team', { ...LIMITS, apply: true }),
    ])
      await expect(reading).rejects.toMatchObject({
        code: 'STORE_GET',
        message: expect.stringMatching(/AWS says: (AccessDenied: .*kms:Decrypt|KMS.DisabledException)/),
      });
    // As soon as one of the others can be read, it is the object.
    await store.put(keys.pack('a'), Buffer.from('x'));
    await expect(readRecord(new Store(aws, { bucket: 'bucket' }), keys, RUN)).rejects.toMatchObject({
      code: 'RECORD_UNVERIFIED',
    });
  });
});
