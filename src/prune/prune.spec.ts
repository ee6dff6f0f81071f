import { deflateSync } from 'node:zlib';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import type { Snapshot } from '../snapshot/snapshot';
import type { Pack } from '../store/pack';
import type { Store } from '../store/store';
import { recordOf, signAs } from '../run/saved-run.fixture';
import { RunKeys } from '../store/record-keys';
import { prune, type PruneWishes } from './prune';
import { remove } from './remove';
import { DAY, StoreFixture } from '../store/store.fixture';

const PREFIX = 'team';
const LIMITS = { olderThan: 14 * DAY, refsOlderThan: 90 * DAY, keepRecords: 0, runsOlderThan: 90 * DAY, keepRuns: 0 };

class Killed extends Error {}

const OLD_RUN = '20250101-000000-model-aaaaaa';
const KEPT_RUN = '20260101-000000-model-bbbbbb';

function runRecord(): object {
  return { v: 1, state: 'ended', snapshot: 's', checkpoints: [{ n: 1 }], restored: null };
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

  const pruneNow = (more: Partial<PruneWishes> = {}, store: Store = at.store) =>
    prune(store, PREFIX, { ...LIMITS, apply: true, ...more });
  const packKey = ({ sha256 }: Pack) => at.keys().pack(sha256);
  const recordKey = ({ id }: Snapshot) => at.keys().record(id);

  /** A tree whose history is old, and what nothing names, of the same age. */
  const aged = async () => {
    const packs = { whole: await at.pack(), change: await at.pack(), garbage: await at.pack() };
    const whole = await at.record([packs.whole]);
    const change = await at.record([packs.change], whole);
    const forgotten = await at.record([packs.garbage]);
    await at.index([packs.whole, packs.garbage]);
    await at.index([packs.change]);
    const ref = await at.ref([whole, change]);
    at.age(30);
    return { packs, whole, change, forgotten, ref };
  };

  it('keeps what the history of a ref names, condemns what nothing does, and removes that 8 days later', async () => {
    const { packs, whole, change, forgotten, ref } = await aged();
    const first = await pruneNow();
    expect(first.kinds.pack).toMatchObject({ kept: { count: 2 }, condemned: { count: 1 }, removed: { count: 0 } });
    expect(await at.there()).toContain(packKey(packs.garbage));
    expect(await at.found(packs.garbage)).toBeUndefined();
    expect(await at.found(packs.whole)).toBe(packs.whole.sha256);
    at.age(7.9);
    expect((await pruneNow()).kinds.pack.removed.count).toBe(0);
    at.age(0.2);
    expect((await pruneNow()).kinds).toMatchObject({
      pack: { removed: { count: 1 } },
      record: { removed: { count: 1 } },
    });
    const there = await at.there();
    for (const key of [packKey(packs.garbage), recordKey(forgotten)]) expect(there).not.toContain(key);
    for (const key of [packKey(packs.whole), packKey(packs.change), recordKey(whole), recordKey(change), ref])
      expect(there).toContain(key);
  });

  it('changes nothing and says what it would do unless it is to', async () => {
    await aged();
    await pruneNow();
    at.age(9);
    const before = await at.store.list('', 10_000);
    const { kinds } = await pruneNow({ apply: false });
    expect([kinds.pack.removed.count, kinds.record.removed.count]).toEqual([1, 1]);
    expect(await at.store.list('', 10_000)).toEqual(before);
  });

  it('keeps what is young, whoever names it, with the bases and packs that young records need', async () => {
    const [old, young, alone] = [await at.pack(), await at.pack(), await at.pack()];
    const base = await at.record([old]);
    at.age(30);
    await at.record([young], base);
    at.age(13, [packKey(alone)]);
    const { kinds } = await pruneNow();
    expect([kinds.pack.kept.count, kinds.pack.condemned.count]).toEqual([2, 1]);
    expect([kinds.record.kept.count, kinds.record.condemned.count]).toEqual([2, 0]);
    at.age(-30, [packKey(alone)]);
    expect((await pruneNow()).kinds.pack.kept.count).toBe(3);
  });

  it('keeps the newest records of a project that has a tree in use, and none of one that has not', async () => {
    for (const project of ['used', 'left']) {
      const pack = await at.pack();
      for (let each = 0; each < 4; each++) {
        await at.record([pack], null, project);
        at.age(20);
      }
    }
    await at.ref([await at.record([], null, 'used')], 'tree/i-1', 'used');
    at.age(20);
    const { kinds } = await pruneNow({ keepRecords: 3 });
    expect(kinds.record).toMatchObject({ kept: { count: 3 }, condemned: { count: 6 } });
    expect(kinds.pack).toMatchObject({ kept: { count: 1 }, condemned: { count: 1 } });
  });

  it('lets a ref that was not written for long keep nothing, says so, and removes it as it does a pack', async () => {
    const { ref, packs } = await aged();
    at.age(61, [ref]);
    const { staleRefs, kinds } = await pruneNow();
    expect(staleRefs).toEqual(['model/ref/tree/i-1']);
    expect(kinds.pack.condemned.count).toBe(3);
    at.age(9);
    await pruneNow();
    const there = await at.there();
    for (const key of [ref, packKey(packs.whole)]) expect(there).not.toContain(key);
  });

  it('pardons what is needed again, and tells of it again', async () => {
    const { packs } = await aged();
    await pruneNow();
    at.age(9);
    await at.record([packs.garbage]);
    const { kinds } = await pruneNow();
    expect(kinds.pack).toMatchObject({ condemned: { count: 0 }, removed: { count: 0 } });
    expect(await at.found(packs.garbage)).toBe(packs.garbage.sha256);
    at.age(9);
    await pruneNow();
    expect(await at.there()).toContain(packKey(packs.garbage));
  });

  it('begins anew with a pack that an index names again, from when that index is gone', async () => {
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

  it('begins anew with a pack that was written anew', async () => {
    const { packs } = await aged();
    await pruneNow();
    at.age(1);
    await at.store.put(packKey(packs.garbage), packs.garbage.bytes);
    at.age(7.1);
    const { kinds } = await pruneNow({ olderThan: 7 * DAY });
    expect(kinds.pack).toMatchObject({ condemned: { count: 1 }, removed: { count: 0 } });
  });

  it('removes old left-overs and helpers at once, and nothing whose kind it does not know', async () => {
    const keys = at.keys('a b/c');
    const leftovers = [
      keys.plan('1'),
      keys.archive('2'),
      `${keys.out('run')}list.json`,
      'team/v1/a%20b%2Fc/watch/session/ack-1',
      keys.helper('0'.repeat(64)),
    ];
    const others = [
      'other/v1/model/plan/1.json',
      'team/v2/p/x',
      'team/v1/model/run/1.json',
      `team/v1/p/${'g'.repeat(64)}`,
      'team/v1/model/plan/below/1.json',
    ];
    for (const key of [...leftovers, ...others]) await at.store.put(key, Buffer.from('x'));
    at.age(13);
    expect((await pruneNow()).kinds.leftover.removed.count).toBe(0);
    at.age(2);
    const { kinds, unknown } = await pruneNow();
    expect([kinds.leftover.removed.count, kinds.helper.removed.count, unknown.count]).toEqual([4, 1, 3]);
    const there = await at.there();
    for (const key of leftovers) expect(there).not.toContain(key);
    for (const key of others) expect(there).toContain(key);
  });

  it('keeps a helper that a ref names, and knows a project by any name', async () => {
    const helper = 'a'.repeat(64);
    await at.store.put(at.keys().helper(helper), Buffer.from('x'));
    for (const project of ['p', 'x', 'helper', 'm', 'ref']) {
      const pack = await at.pack();
      await at.ref([await at.record([pack], null, project)], 'tree/i-1', project, helper);
    }
    at.age(30);
    const { kinds, unknown } = await pruneNow();
    expect([kinds.pack.kept.count, kinds.record.kept.count, kinds.ref.kept.count]).toEqual([5, 5, 5]);
    expect([kinds.helper.kept.count, unknown.count]).toEqual([1, 0]);
  });

  it('takes a damaged record or ref for one that names nothing, and says so', async () => {
    const { change, ref } = await aged();
    await at.store.put(recordKey(change), Buffer.from('not a record'));
    await at.store.put(at.keys().ref('other', 'i-2'), Buffer.from('{'));
    at.age(30, [recordKey(change)]);
    const { damaged, kinds } = await pruneNow();
    expect(damaged.sort()).toEqual([`model/m/${change.id}`, 'model/ref/other/i-2']);
    expect([kinds.pack.kept.count, kinds.pack.condemned.count]).toEqual([1, 2]);
    expect(await at.there()).toContain(ref);
  });

  it('keeps all of a kept run whose record somebody else has written, and says so', async () => {
    const record = recordOf({ id: KEPT_RUN, checkpoints: [] });
    const run = at.keys().run(KEPT_RUN);
    const [list, part] = [`${run}checkpoint/1.json`, `${run}part/${'a'.repeat(64)}`];
    const lists = { [list]: '{"v":1,"files":[]}', [part]: 'x', [`${run}artifacts.json`]: '{"v":1,"files":[]}' };
    for (const [key, body] of Object.entries(lists)) await at.store.put(key, Buffer.from(body));
    const { keys: signer } = await at.store.recordKeys.forStart({ keys: at.keys(), run: KEPT_RUN });
    const genuine = signAs(signer, KEPT_RUN, record);
    const forged = signAs(new RunKeys(Buffer.alloc(32), { keys: at.keys(), run: KEPT_RUN }), KEPT_RUN, record);
    // The same record, genuine, lets go what it does not name: the checkpoint and its part.
    for (const [bytes, unverified, kept] of [
      [forged, [`model/run/${KEPT_RUN}/record.json`], true],
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

  it.each([
    ['a ref', 'team/v1/model/ref/tree/i-9', Buffer.from('{"v":3}')],
    ['a record', `team/v1/model/m/${'b'.repeat(64)}`, deflateSync('{"v":2}')],
    ['an index', 'team/v1/x/20260101T000000000-0123456789abcdef', deflateSync('NX-EC2 index 2\nmore')],
    ['a list', 'team/v1/x/condemned', Buffer.from('{"v":2,"condemned":{}}')],
  ])('stops at %s of a later version: it can not tell what that needs', async (what, key, body) => {
    await aged();
    await at.store.put(key, body);
    const before = await at.there();
    await expect(pruneNow()).rejects.toMatchObject({ code: 'PRUNE_NEWER', message: expect.stringContaining(what) });
    expect(await at.there()).toEqual(before);
  });

  it('takes nothing for gone that it may not read', async () => {
    await aged();
    const before = await at.store.list('', 10_000);
    const denied = { code: 'AccessDenied', message: 'Access Denied', status: 403 };
    // Two indexes, the list, a listing of each and of all, a ref, two records: whichever it is.
    for (let after = 0; after < 8; after++) {
      at.local.aws.faults.add({ service: 's3', action: 'GET', after, error: denied });
      await expect(pruneNow()).rejects.toMatchObject({ aws: { code: 'AccessDenied' } });
      expect(await at.store.list('', 10_000)).toEqual(before);
    }
  });

  it('gives way to another prune that has written the list meanwhile', async () => {
    await aged();
    await pruneNow();
    at.age(9);
    let other: Promise<unknown> | undefined;
    const slow = intercept(at.store, async (method) => {
      if (method === 'etag' && !other) await (other = pruneNow());
    });
    await expect(pruneNow({}, slow)).rejects.toMatchObject({ code: 'PRUNE_OVERTAKEN' });
    const late = intercept(at.store, async (method) => {
      if (method === 'swap') await pruneNow();
    });
    await expect(pruneNow({}, late)).rejects.toMatchObject({ code: 'PRUNE_OVERTAKEN' });
  });

  it('knows its own list again where the answer to writing it was lost', async () => {
    await aged();
    at.local.aws.faults.add({ service: 's3', action: 'PUT', cut: 'after' });
    expect((await pruneNow()).kinds.pack.condemned.count).toBe(1);
  });

  it('spares what was written between being judged and being removed', async () => {
    const { packs, forgotten } = await aged();
    await pruneNow();
    at.age(9);
    const store = intercept(at.store, async (method) => {
      if (method !== 'swap') return;
      await at.local.s3.send(
        new PutObjectCommand({ Bucket: 'bucket', Key: packKey(packs.garbage), Body: packs.garbage.bytes }),
      );
    });
    await pruneNow({}, store);
    const there = await at.there();
    expect(there).toContain(packKey(packs.garbage));
    expect(there).not.toContain(recordKey(forgotten));
  });

  it('leaves all as it is where a run is of a later version, and names a record that is damaged', async () => {
    await at.run('20260101-000000-model-aaaaaa', { v: 1, state: 'running' }, { 'log/0': 'log' });
    at.age(30);
    const { damaged, runs, kinds } = await pruneNow();
    expect(damaged).toEqual(['model/run/20260101-000000-model-aaaaaa/record.json']);
    expect([runs, kinds.run.kept.count]).toEqual([{ kept: 1, removed: 0 }, 2]);
    await at.run('20260102-000000-model-aaaaaa', { v: 2 });
    await expect(pruneNow()).rejects.toMatchObject({ code: 'PRUNE_NEWER' });
  });

  it('removes nothing that it listed before the machine slept', async () => {
    const pack = await at.pack();
    const [stored] = await at.store.list(packKey(pack), 1);
    const doomed = new Map([
      [`p/${pack.sha256}`, { ...stored, kind: 'pack' as const, name: '', project: '', run: '' }],
    ]);
    let time = 0;
    const options = { check: async () => undefined, onRemoved: () => undefined, now: () => (time += 61_000) };
    await expect(remove(at.store, 'team/v1/', doomed, options)).rejects.toMatchObject({ code: 'PRUNE_SLEPT' });
    expect(await at.there()).toContain(packKey(pack));
  });

  it('makes one index of many, and leaves one alone that is as it should be', async () => {
    const packs = await Promise.all(Array.from({ length: 6 }, () => at.pack()));
    const snapshot = await at.record(packs);
    await at.ref([snapshot]);
    for (const pack of packs.slice(0, 4)) await at.index([pack]);
    await at.index(packs.slice(3, 5));
    at.age(2);
    expect((await pruneNow()).indexes).toEqual({ from: 5, to: 1 });
    for (const pack of packs) expect(await at.found(pack)).toBe(pack.sha256);
    expect((await pruneNow()).indexes).toEqual({ from: 0, to: 0 });
  });

  it('does not remove the index that it writes, where one of that very name was left behind', async () => {
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

  it('goes on after being killed at any call to S3, and has lost nothing that is needed', async () => {
    const { packs, whole, change, forgotten, ref } = await aged();
    const lost = await at.pack();
    await at.index([lost]);
    at.age(20, [packKey(lost)]);
    await pruneNow();
    at.age(9);
    // A second round: something to remove, something to condemn, something to pardon.
    const late = await at.pack();
    await at.index([late]);
    at.age(20, [packKey(late)]);
    const pardoned = await at.record([lost]);
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
          for (const record of [whole, change, pardoned]) expect(there).toContain(recordKey(record));
          expect(there).toContain(ref);
          await pruneNow();
          at.age(8.1, [at.keys().condemned]);
        }
        const find = await at.finder();
        for (const pack of [packs.whole, packs.change, lost, fresh]) expect(find(pack)).toBe(pack.sha256);
        const there = await at.there();
        for (const pack of [packs.garbage, late]) expect(there).not.toContain(packKey(pack));
        expect([...there].filter((key) => key.includes(OLD_RUN))).toEqual([]);
        for (const key of kept.values()) expect(there).toContain(key);
        expect(there).not.toContain(recordKey(forgotten));
      }
    }
  }, 120_000);
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
