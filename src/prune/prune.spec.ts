import { createHash } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import type { Snapshot } from '../snapshot/snapshot';
import { formatIndex, indexName } from '../store/packs/index-format';
import type { Pack } from '../store/packs/pack';
import type { Store } from '../store/store';
import { recordOf, signAs } from '../run/record/saved-run.fixture';
import { RunKeys } from '../store/signing-keys';
import { prune, type PruneStoreOptions } from './prune';
import { Indexes } from './indexes';
import { takeInventory } from './inventory';
import { markReachable } from './needed';
import { StoreReader } from './reader';
import { remove } from './remove';
import { storeBase, storeNames } from '../store/keys';
import { MAX_JSON_VALUES } from '../system/bounded';
import { DAY, StoreFixture } from '../store/store.fixture';

const PREFIX = 'team';
const LIMITS = { olderThan: 14 * DAY, refsOlderThan: 90 * DAY, keepSnapshots: 0, runsOlderThan: 90 * DAY, keepRuns: 0 };

class Killed extends Error {}

const OLD_RUN = '20250101-000000-model-aaaaaa';
const KEPT_RUN = '20260101-000000-model-bbbbbb';

function runRecord(): object {
  return { v: 1, state: 'ended', snapshot: 's', checkpoints: [{ n: 1 }], restoredFrom: null };
}

function objects(names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, name]));
}

describe('prune', () => {
  let at: StoreFixture;
  beforeAll(async () => {
    at = await StoreFixture.start();
  });
  afterAll(() => at.close());
  beforeEach(() => at.empty());

  const pruneNow = (more: Partial<PruneStoreOptions> = {}, store: Store = at.store) =>
    prune(store, PREFIX, { ...LIMITS, apply: true, ...more });
  const packKey = ({ sha256 }: Pack) => at.keys().pack(sha256);
  const manifestKey = ({ id }: Snapshot) => at.keys().manifest(id);

  /** A tree whose history is old, and what nothing names, of the same age. */
  const aged = async () => {
    const packs = { whole: await at.pack(), change: await at.pack(), garbage: await at.pack() };
    const whole = await at.manifest([packs.whole]);
    const change = await at.manifest([packs.change], whole);
    const forgotten = await at.manifest([packs.garbage]);
    await at.index([packs.whole, packs.garbage]);
    await at.index([packs.change]);
    const ref = await at.ref([whole, change]);
    at.age(30);
    return { packs, whole, change, forgotten, ref };
  };

  it('keeps what the history of a ref names, lists the rest as pending deletion, and removes it 8 days later', async () => {
    const { packs, whole, change, forgotten, ref } = await aged();
    const first = await pruneNow();
    expect(first.kinds.pack).toMatchObject({ kept: { count: 2 }, pending: { count: 1 }, removed: { count: 0 } });
    expect(await at.there()).toContain(packKey(packs.garbage));
    expect(await at.found(packs.garbage)).toBeUndefined();
    expect(await at.found(packs.whole)).toBe(packs.whole.sha256);
    at.age(7.9);
    expect((await pruneNow()).kinds.pack.removed.count).toBe(0);
    at.age(0.2);
    expect((await pruneNow()).kinds).toMatchObject({
      pack: { removed: { count: 1 } },
      manifest: { removed: { count: 1 } },
    });
    const there = await at.there();
    for (const key of [packKey(packs.garbage), manifestKey(forgotten)]) expect(there).not.toContain(key);
    for (const key of [packKey(packs.whole), packKey(packs.change), manifestKey(whole), manifestKey(change), ref])
      expect(there).toContain(key);
  });

  it('changes nothing without --apply, and says what it would do', async () => {
    await aged();
    await pruneNow();
    at.age(9);
    const before = await at.store.list('', 10_000);
    const { kinds } = await pruneNow({ apply: false });
    expect([kinds.pack.removed.count, kinds.manifest.removed.count]).toEqual([1, 1]);
    expect(await at.store.list('', 10_000)).toEqual(before);
  });

  it('keeps new objects, also unreachable ones, with the bases and packs that new manifests need', async () => {
    const [old, young, alone] = [await at.pack(), await at.pack(), await at.pack()];
    const base = await at.manifest([old]);
    at.age(30);
    await at.manifest([young], base);
    at.age(13, [packKey(alone)]);
    const { kinds } = await pruneNow();
    expect([kinds.pack.kept.count, kinds.pack.pending.count]).toEqual([2, 1]);
    expect([kinds.manifest.kept.count, kinds.manifest.pending.count]).toEqual([2, 0]);
    at.age(-30, [packKey(alone)]);
    expect((await pruneNow()).kinds.pack.kept.count).toBe(3);
  });

  it('keeps the newest manifests of a project whose tree is in use, and none of a project without one', async () => {
    for (const project of ['used', 'left']) {
      const pack = await at.pack();
      for (let each = 0; each < 4; each++) {
        await at.manifest([pack], null, project);
        at.age(20);
      }
    }
    await at.ref([await at.manifest([], null, 'used')], 'tree/i-1', 'used');
    at.age(20);
    const { kinds } = await pruneNow({ keepSnapshots: 3 });
    expect(kinds.manifest).toMatchObject({ kept: { count: 3 }, pending: { count: 6 } });
    expect(kinds.pack).toMatchObject({ kept: { count: 1 }, pending: { count: 1 } });
  });

  it('keeps nothing for a ref that was not written for a long time, reports it, and removes it as it removes a pack', async () => {
    const { ref, packs } = await aged();
    at.age(61, [ref]);
    const { staleRefs, kinds } = await pruneNow();
    expect(staleRefs).toEqual(['projects/model/ref/tree/i-1']);
    expect(kinds.pack.pending.count).toBe(3);
    at.age(9);
    await pruneNow();
    const there = await at.there();
    for (const key of [ref, packKey(packs.whole)]) expect(there).not.toContain(key);
  });

  it('keeps a pending delete that is reachable again, and reports it when it is unreachable later', async () => {
    const { packs } = await aged();
    await pruneNow();
    at.age(9);
    await at.manifest([packs.garbage]);
    const { kinds } = await pruneNow();
    expect(kinds.pack).toMatchObject({ pending: { count: 0 }, removed: { count: 0 } });
    expect(await at.found(packs.garbage)).toBe(packs.garbage.sha256);
    at.age(9);
    await pruneNow();
    expect(await at.there()).toContain(packKey(packs.garbage));
  });

  it('restarts the delay of a pack that an index named again, when that index is removed', async () => {
    const { packs } = await aged();
    await pruneNow();
    at.age(9);
    await at.index([packs.garbage]);
    expect((await pruneNow()).kinds.pack.removed.count).toBe(0);
    at.age(7.9);
    expect((await pruneNow()).kinds.pack.removed.count).toBe(0);
    at.age(0.2);
    expect((await pruneNow()).kinds.pack.removed.count).toBe(1);
  });

  it('restarts the delay of a pack that was written again', async () => {
    const { packs } = await aged();
    await pruneNow();
    at.age(1);
    await at.store.put(packKey(packs.garbage), packs.garbage.bytes);
    at.age(7.1);
    const { kinds } = await pruneNow({ olderThan: 7 * DAY });
    expect(kinds.pack).toMatchObject({ pending: { count: 1 }, removed: { count: 0 } });
  });

  it('removes old temporary objects and runtimes at once, and no object of an unknown kind', async () => {
    const keys = at.keys('a b/c');
    const temporaries = [
      keys.plan('1'),
      keys.archive('2'),
      `${keys.doctor('run')}list.json`,
      'team/v2/projects/a%20b%2Fc/watch/session/ack-1',
      at.keys('pool:gpu').launch('3'),
      at.keys('pool:gpu').reservations,
      keys.runtime('0'.repeat(64)),
    ];
    const others = [
      'other/v2/projects/model/plan/1.json',
      'team/v3/packs/x',
      'team/v2/projects/model/run/1.json',
      `team/v2/packs/${'g'.repeat(64)}`,
      'team/v2/projects/model/plan/below/1.json',
    ];
    for (const key of [...temporaries, ...others]) await at.store.put(key, Buffer.from('x'));
    at.age(13);
    expect((await pruneNow()).kinds.temporary.removed.count).toBe(0);
    at.age(2);
    const { kinds, unknown } = await pruneNow();
    expect([kinds.temporary.removed.count, kinds.runtime.removed.count, unknown.count]).toEqual([6, 1, 3]);
    const there = await at.there();
    for (const key of temporaries) expect(there).not.toContain(key);
    for (const key of others) expect(there).toContain(key);
  });

  it('keeps a runtime that a ref names, and accepts any project name', async () => {
    const runtime = 'a'.repeat(64);
    await at.store.put(at.keys().runtime(runtime), Buffer.from('x'));
    for (const project of ['packs', 'indexes', 'runtime', 'projects', 'manifests', 'ref']) {
      const pack = await at.pack();
      await at.ref([await at.manifest([pack], null, project)], 'tree/i-1', project, runtime);
    }
    at.age(30);
    const { kinds, unknown } = await pruneNow();
    expect([kinds.pack.kept.count, kinds.manifest.kept.count, kinds.ref.kept.count]).toEqual([6, 6, 6]);
    expect([kinds.runtime.kept.count, unknown.count]).toEqual([1, 0]);
  });

  it('treats a damaged manifest or ref as one that names nothing, and reports it', async () => {
    const { change, ref } = await aged();
    await at.store.put(manifestKey(change), Buffer.from('not a record'));
    await at.store.put(at.keys().ref('other', 'i-2'), Buffer.from('{'));
    at.age(30, [manifestKey(change)]);
    const { damaged, kinds } = await pruneNow();
    expect(damaged.sort()).toEqual([`projects/model/manifests/${change.id}`, 'projects/model/ref/other/i-2']);
    expect([kinds.pack.kept.count, kinds.pack.pending.count]).toEqual([1, 2]);
    expect(await at.there()).toContain(ref);
  });

  it('remembers only packs that the store has, however many forged manifests name others', async () => {
    const kept = await at.pack();
    await at.manifest([kept]);
    const names = Array.from({ length: 100_000 }, (_, n) => [String(n).padStart(64, '0'), 1]);
    const id = (n: number) => `${n}`.padStart(64, 'f');
    for (let n = 0; n < 3; n++) {
      const forged = {
        v: 2,
        snapshot: id(n),
        base: null,
        canonical: '',
        recipes: {},
        packs: [...names, ['a', 1]],
        inline: {},
      };
      await at.store.put(at.keys().manifest(id(n)), deflateSync(JSON.stringify(forged)));
    }
    const reader = new StoreReader(at.store, storeBase(PREFIX), () => undefined);
    const { items } = await takeInventory(at.store, storeBase(PREFIX), () => undefined);
    const { names: reachable } = await markReachable(items, LIMITS, Date.now(), reader);
    expect(reachable).toContain(storeNames.pack(kept.sha256));
    expect([...reachable].filter((name) => !items.has(name))).toEqual([]);
    expect(reader.damaged).toEqual([]);
  });

  it('remembers only packs that the store has, however many forged indexes name others, and replaces those', async () => {
    const kept = await at.pack();
    await at.manifest([kept]);
    await at.index([kept]);
    for (let n = 0; n < 3; n++) {
      const invented = Array.from({ length: 20_000 }, (_, at) => ({
        sha256: `${n}${at}`.padStart(64, '0'),
        size: 1,
        chunks: ['f'.repeat(64)],
      }));
      const bytes = formatIndex(invented);
      await at.store.put(at.keys().index(indexName(bytes, new Date())), bytes);
    }
    const base = storeBase(PREFIX);
    const names = await Indexes.list(at.store, base);
    const exists = (sha256: string) => sha256 === kept.sha256;
    const { packs } = await Indexes.read({ store: at.store, base }, names, exists, () => undefined);
    expect([names.length, ...packs]).toEqual([4, kept.sha256]);
    expect((await pruneNow()).indexes).toEqual({ from: 4, to: 1 });
    expect(await at.found(kept)).toBe(kept.sha256);
  });

  it('names a manifest that holds more values than one may', async () => {
    const forged = `{"v":2,"snapshot":"${'e'.repeat(64)}","base":null,"packs":[${'[],'.repeat(MAX_JSON_VALUES / 2)}[]]}`;
    await at.store.put(at.keys().manifest('e'.repeat(64)), deflateSync(forged));
    expect((await pruneNow()).damaged).toEqual([expect.stringContaining('e'.repeat(64))]);
  });

  it("keeps all of a kept run whose record can't be verified, and reports it", async () => {
    const record = recordOf({ id: KEPT_RUN, checkpoints: [] });
    const run = at.keys().run(KEPT_RUN);
    const [list, part] = [`${run}checkpoint/1.json`, `${run}part/${'a'.repeat(64)}`];
    const lists = { [list]: '{"v":1,"files":[]}', [part]: 'x', [`${run}artifacts.json`]: '{"v":1,"files":[]}' };
    for (const [key, body] of Object.entries(lists)) await at.store.put(key, Buffer.from(body));
    const { keys: signer } = await at.store.signingKeys.forStart({ keys: at.keys(), run: KEPT_RUN });
    const genuine = signAs(signer, KEPT_RUN, record);
    const forged = signAs(new RunKeys(Buffer.alloc(32), { keys: at.keys(), run: KEPT_RUN }), KEPT_RUN, record);
    // The same record, genuine, lets go what it does not name: the checkpoint and its part.
    for (const [bytes, unverified, kept] of [
      [forged, [`projects/model/run/${KEPT_RUN}/record.json`], true],
      [genuine, [], false],
    ] as const) {
      await at.store.put(`${run}record.json`, bytes);
      at.age(5);
      const said = await pruneNow();
      expect(said.unverified).toEqual(unverified);
      const there = await at.there();
      for (const key of [list, part]) expect(there.has(key)).toBe(kept);
    }
  });

  it('does not count unverified records among the newest runs, and keeps as many of these', async () => {
    const pack = await at.pack();
    const code = await at.manifest([pack]);
    await at.index([pack]);
    const run = { v: 1, state: 'ended', snapshot: code.id, checkpoints: [], restoredFrom: null };
    const genuine = ['20250101-000000-model-aaaaaa', '20250102-000000-model-aaaaaa', '20250103-000000-model-aaaaaa'];
    for (const id of genuine) await at.run(id, { ...run, snapshot: id === genuine[2] ? '' : code.id });
    const forged = [1, 2, 3, 4, 5].map((n) => `2029010${n}-000000-model-bbbbbb`);
    for (const id of forged) await at.store.put(`${at.keys().run(id)}record.json`, Buffer.from('{"v":3}'));
    at.age(200);
    const said = [await pruneNow({ keepRuns: 2 })];
    at.age(9);
    said.push(await pruneNow({ keepRuns: 2 }));
    const there = await at.there();
    const left = (ids: string[]) => ids.filter((id) => there.has(`${at.keys().run(id)}record.json`));
    expect([left(genuine), left(forged)]).toEqual([genuine.slice(1), forged.slice(3)]);
    expect(there).toContain(packKey(pack));
    expect(there).toContain(manifestKey(code));
    for (const { unverified } of said)
      expect(unverified.sort()).toEqual(forged.slice(3).map((id) => `projects/model/run/${id}/record.json`));
  });

  it.each([
    ['a ref', 'team/v2/projects/model/ref/tree/i-9', Buffer.from('{"v":3}')],
    ['a manifest', `team/v2/projects/model/manifests/${'b'.repeat(64)}`, deflateSync('{"v":3}')],
    ['an index', 'team/v2/indexes/20260101T000000000-0123456789abcdef', deflateSync('NX-EC2 index 2\nmore')],
    ['a list', 'team/v2/indexes/pending-deletes', Buffer.from('{"v":2,"pendingDeletes":{}}')],
  ])("stops at %s of a later version, because it can't tell what that needs", async (what, key, body) => {
    await aged();
    await at.store.put(key, body);
    const before = await at.there();
    await expect(pruneNow()).rejects.toMatchObject({ code: 'PRUNE_NEWER', message: expect.stringContaining(what) });
    expect(await at.there()).toEqual(before);
  });

  it('does not treat an object that it may not read as missing', async () => {
    await aged();
    const before = await at.store.list('', 10_000);
    const denied = { code: 'AccessDenied', message: 'Access Denied', status: 403 };
    // After one failure, the SDK alone reads, and a single refusal is final.
    at.local.aws.faults.add({ service: 's3', action: 'GET', error: { code: 'InternalError', status: 500 } });
    await at.store.get('none', 1);
    // Two indexes, the list, a listing of each and of all, a ref, two manifests: whichever it is.
    for (let after = 0; after < 8; after++) {
      at.local.aws.faults.add({ service: 's3', action: 'GET', after, error: denied });
      await expect(pruneNow()).rejects.toMatchObject({ aws: { code: 'AccessDenied' } });
      expect(await at.store.list('', 10_000)).toEqual(before);
    }
  });

  it('stops if another prune has written the list in between', async () => {
    await aged();
    await pruneNow();
    at.age(9);
    let other: Promise<unknown> | undefined;
    const slow = intercept(at.store, async (method) => {
      if (method === 'etag' && !other) await (other = pruneNow());
    });
    await expect(pruneNow({}, slow)).rejects.toMatchObject({ code: 'CONCURRENT_PRUNE' });
    const late = intercept(at.store, async (method) => {
      if (method === 'compareAndSwap') await pruneNow();
    });
    await expect(pruneNow({}, late)).rejects.toMatchObject({ code: 'CONCURRENT_PRUNE' });
  });

  it('recognizes its own list if the response to its write was lost', async () => {
    await aged();
    at.local.aws.faults.add({ service: 's3', action: 'PUT', cut: 'after' });
    expect((await pruneNow()).kinds.pack.pending.count).toBe(1);
  });

  it('keeps an object that was written between the listing and its removal', async () => {
    const { packs, forgotten } = await aged();
    await pruneNow();
    at.age(9);
    const store = intercept(at.store, async (method) => {
      if (method !== 'compareAndSwap') return;
      await at.local.s3.send(
        new PutObjectCommand({ Bucket: 'bucket', Key: packKey(packs.garbage), Body: packs.garbage.bytes }),
      );
    });
    await pruneNow({}, store);
    const there = await at.there();
    expect(there).toContain(packKey(packs.garbage));
    expect(there).not.toContain(manifestKey(forgotten));
  });

  it('removes nothing if a run is of a later version, and reports a damaged record', async () => {
    await at.run('20260101-000000-model-aaaaaa', { v: 1, state: 'running' }, { 'log/0': 'log' });
    at.age(30);
    const { damaged, runs, kinds } = await pruneNow();
    expect(damaged).toEqual(['projects/model/run/20260101-000000-model-aaaaaa/record.json']);
    expect([runs, kinds.run.kept.count]).toEqual([{ kept: 1, removed: 0 }, 2]);
    await at.run('20260102-000000-model-aaaaaa', { v: 2 });
    await expect(pruneNow()).rejects.toMatchObject({ code: 'PRUNE_NEWER' });
  });

  it.each([
    ['the envelope is', (record: object) => ({ v: 3, ...record })],
    ['the record in it is', (record: object) => ({ v: 2, mac: '0'.repeat(64), record: { ...record, v: 2 } })],
  ])('is not stopped by a forged record that says that %s of a later version', async (_, forge) => {
    const { packs, forgotten } = await aged();
    const reachable = await at.pack();
    const code = await at.manifest([reachable]);
    const run = at.keys().run(KEPT_RUN);
    const origin = await at.run(OLD_RUN, runRecord(), { 'log/0': 'log' });
    at.age(100);
    await at.ref([await at.manifest([])]);
    const record = { snapshot: code.id, restoredFrom: { run: OLD_RUN }, checkpoints: 'none' };
    await at.store.put(`${run}record.json`, Buffer.from(JSON.stringify(forge(record))));
    await at.store.put(`${run}log/0`, Buffer.from('log'));
    at.age(30, [packKey(reachable), manifestKey(code)]);
    const said = await pruneNow();
    expect(said.unverified).toEqual([`projects/model/run/${KEPT_RUN}/record.json`]);
    // What it names in the known places stays; what nothing needs goes.
    const there = await at.there();
    for (const key of [packKey(reachable), manifestKey(code), `${run}log/0`, ...origin.values()])
      expect(there).toContain(key);
    at.age(9, [at.keys().pendingDeletes]);
    await pruneNow();
    const later = await at.there();
    expect(later).toContain(packKey(reachable));
    for (const key of [packKey(packs.garbage), manifestKey(forgotten)]) expect(later).not.toContain(key);
  });

  it('keeps the parts of a run where a list of artifacts or a checkpoint is not the one that its record names', async () => {
    const part = `part/${'a'.repeat(64)}`;
    const list = JSON.stringify({ v: 1, files: [{ parts: ['a'.repeat(64)] }] });
    const sha256 = createHash('sha256').update(list).digest('hex');
    const record = { ...runRecord(), checkpoints: [{ n: 1, sha256 }], artifacts: { sha256 } };
    const genuine = { 'checkpoint/1.json': list, 'artifacts.json': list, [part]: 'x' };
    for (const forged of ['{"v":1,"files":[]}', '{"v":2}'])
      for (const name of ['checkpoint/1.json', 'artifacts.json']) {
        const keys = await at.run(KEPT_RUN, record, { ...genuine, 'checkpoint/1.json': forged, [name]: forged });
        at.age(30);
        const { damaged } = await pruneNow();
        expect(damaged).toContain(`projects/model/run/${KEPT_RUN}/${name}`);
        expect(await at.there()).toContain(keys.get(part));
      }
    const keys = await at.run(KEPT_RUN, record, { ...genuine, [`part/${'b'.repeat(64)}`]: 'y' });
    at.age(30);
    expect((await pruneNow()).damaged).toEqual([]);
    const there = await at.there();
    expect([there.has(keys.get(part)!), there.has(keys.get(`part/${'b'.repeat(64)}`)!)]).toEqual([true, false]);
  });

  it('is not stopped by a list of artifacts of a later version that the record of its run does not name', async () => {
    const part = `part/${'a'.repeat(64)}`;
    const keys = await at.run(KEPT_RUN, runRecord(), { 'artifacts.json': '{"v":2}', [part]: 'x' });
    at.age(30);
    expect((await pruneNow()).damaged).toEqual([`projects/model/run/${KEPT_RUN}/artifacts.json`]);
    expect(await at.there()).toContain(keys.get(part));
  });

  it('restarts the delay of what a forged list marks at a time in the future', async () => {
    const { packs, ref } = await aged();
    const name = `packs/${packs.garbage.sha256}`;
    for (const time of [Date.now() + 100 * DAY, 1e300]) {
      const list = { v: 1, by: '0'.repeat(16), pendingDeletes: { [name]: time } };
      await at.store.put(at.keys().pendingDeletes, Buffer.from(JSON.stringify(list)));
      const { next } = await pruneNow();
      expect(next).toBeLessThan(Date.now() + 9 * DAY);
    }
    at.age(9);
    await pruneNow();
    const there = await at.there();
    expect([there.has(packKey(packs.garbage)), there.has(ref)]).toEqual([false, true]);
  });

  it('removes nothing that it listed before the machine slept', async () => {
    const pack = await at.pack();
    const [stored] = await at.store.list(packKey(pack), 1);
    const deletable = new Map([
      [`packs/${pack.sha256}`, { ...stored, kind: 'pack' as const, name: '', project: '', run: '' }],
    ]);
    let time = 0;
    const options = { check: async () => undefined, onRemoved: () => undefined, now: () => (time += 61_000) };
    await expect(remove(at.store, 'team/v2/', deletable, options)).rejects.toMatchObject({ code: 'PRUNE_STALLED' });
    expect(await at.there()).toContain(packKey(pack));
  });

  it('merges many indexes into one, and keeps one that needs no change', async () => {
    const packs = await Promise.all(Array.from({ length: 6 }, () => at.pack()));
    const snapshot = await at.manifest(packs);
    await at.ref([snapshot]);
    for (const pack of packs.slice(0, 4)) await at.index([pack]);
    await at.index(packs.slice(3, 5));
    at.age(2);
    expect((await pruneNow()).indexes).toEqual({ from: 5, to: 1 });
    for (const pack of packs) expect(await at.found(pack)).toBe(pack.sha256);
    expect((await pruneNow()).indexes).toEqual({ from: 0, to: 0 });
  });

  it('does not remove the index that it writes, if an old one has the same name', async () => {
    const pack = await at.pack();
    for (const packs of [[pack], []]) await at.index(packs);
    const time = new Date();
    const still = (store: Store) =>
      new Proxy(store, { get: (of, name) => (name === 'now' ? async () => time : bound(of, name)) });
    const dying = intercept(at.store, async (method) => {
      if (method === 'delete') throw new Killed();
    });
    await expect(pruneNow({}, still(dying))).rejects.toThrow(Killed);
    await pruneNow({}, still(at.store));
    expect(await at.found(pack)).toBe(pack.sha256);
  });

  it('continues after being killed at any call to S3, and loses no reachable object', async () => {
    const { packs, whole, change, forgotten, ref } = await aged();
    const lost = await at.pack();
    await at.index([lost]);
    at.age(20, [packKey(lost)]);
    await pruneNow();
    at.age(9);
    // A second round: something to remove, something to mark, something that is reachable again.
    const late = await at.pack();
    await at.index([late]);
    at.age(20, [packKey(late)]);
    const pardoned = await at.manifest([lost]);
    const fresh = await at.pack();
    await at.index([fresh]);
    // A run that is too old, with all that it has, and one that is kept for its checkpoint.
    const parts = Array.from({ length: 3 }, (_, n) => `part/${String(n).repeat(64)}`);
    const list = { v: 1, files: [{ parts: [parts[0].slice(5)] }] };
    const old = await at.run(OLD_RUN, runRecord(), {
      'artifacts.json': list,
      'checkpoint/1.json': list,
      ...objects(parts),
    });
    const kept = await at.run(KEPT_RUN, runRecord(), {
      'artifacts.json': list,
      'checkpoint/1.json': list,
      ...objects(parts.slice(0, 1)),
    });
    at.age(100, [...old.values()]);
    const back = at.save();
    const calls = { before: 0, midway: 0, after: 0 };
    await pruneNow(
      {},
      intercept(at.store, async (_method, moment) => void calls[moment]++),
    );
    expect(calls.after).toBeGreaterThan(15);
    expect(calls.midway).toBeGreaterThan(0);
    for (const when of ['before', 'midway', 'after'] as const) {
      for (let call = 0; call < calls[when]; call++) {
        back();
        let count = 0;
        const dying = intercept(at.store, async (_method, moment) => {
          if (moment === when && count++ === call) throw new Killed();
        });
        await expect(pruneNow({}, dying)).rejects.toThrow(Killed);
        for (let round = 0; round < 3; round++) {
          const there = await at.there();
          for (const pack of [packs.whole, packs.change, lost]) expect(there).toContain(packKey(pack));
          for (const record of [whole, change, pardoned]) expect(there).toContain(manifestKey(record));
          expect(there).toContain(ref);
          await pruneNow();
          at.age(8.1, [at.keys().pendingDeletes]);
        }
        const find = await at.finder();
        for (const pack of [packs.whole, packs.change, lost, fresh]) expect(find(pack)).toBe(pack.sha256);
        const there = await at.there();
        for (const pack of [packs.garbage, late]) expect(there).not.toContain(packKey(pack));
        expect([...there].filter((key) => key.includes(OLD_RUN))).toEqual([]);
        for (const key of kept.values()) expect(there).toContain(key);
        expect(there).not.toContain(manifestKey(forgotten));
      }
    }
  });
});

function bound(store: Store, name: string | symbol): unknown {
  const value = Reflect.get(store, name, store) as unknown;
  return typeof value === 'function' ? value.bind(store) : value;
}

/** A store that says what is asked of it, before and after, and when half of several objects are removed. */
function intercept(
  store: Store,
  tell: (method: string, moment: 'before' | 'midway' | 'after') => Promise<void>,
): Store {
  return new Proxy(store, {
    get(target, name) {
      const value = Reflect.get(target, name, target) as unknown;
      if (typeof value !== 'function' || name === 'now') return bound(target, name);
      if (name === 'pages')
        return async function* (...args: Parameters<Store['pages']>) {
          await tell('pages', 'before');
          for await (const page of target.pages(...args)) {
            yield page;
            await tell('pages', 'after');
          }
        };
      return async (...args: unknown[]) => {
        await tell(String(name), 'before');
        const [keys] = args;
        if (name === 'delete' && Array.isArray(keys) && keys.length > 1) {
          // S3 removes the keys of one request one after another.
          await target.delete((keys as string[]).slice(0, keys.length >> 1));
          await tell(name, 'midway');
        }
        const result: unknown = await value.apply(target, args);
        await tell(String(name), 'after');
        return result;
      };
    },
  });
}
