import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { RemoteFailure } from '../../command/remote-failure';
import type { Operation, SyncPart } from '../../command/plan';
import { Printer } from '../../report/printer';
import { Recipes } from '../../snapshot/recipes';
import type { Snapshot } from '../../snapshot/snapshot';
import { PackIndex } from '../../store/packs/pack-index';
import { DAY, StoreFixture } from '../../store/store.fixture';
import { isFresh, readHead, loadCachedHead, cacheHead, storeHead } from './head';
import { MAX_CHAIN_BYTES, MAX_HISTORY, MAX_MANIFEST_BYTES } from './manifest';
import { nothing } from '../transport/transport';
import { syncTree } from '../pipeline/sync-tree';
import type { SyncContext } from '../context';

const RUNTIME = 'a'.repeat(64);

/** The id of a snapshot, and the name of a pack, that nothing has. */
const GONE = '0'.repeat(64);

describe('the head of a tree', () => {
  let at: StoreFixture;
  let memory: string;
  let context: SyncContext;
  let snapshot: Snapshot;
  let sent: SyncPart[];
  let answers: (Error | object)[];
  beforeAll(async () => {
    at = await StoreFixture.start();
  });
  afterAll(() => at.close());
  beforeEach(async () => {
    at.empty();
    memory = mkdtempSync(join(tmpdir(), 'nx-ec2-memory-'));
    snapshot = await at.manifest([await at.pack()]);
    [sent, answers] = [[], []];
    const remote = {
      runtime: RUNTIME,
      assumeRuntime: () => undefined,
      uploadRuntime: async () => undefined,
      sendEach: async (
        instances: string[],
        operation: Operation & { sync: SyncPart },
        options: { onSent?: () => void },
      ) => {
        sent.push(operation.sync);
        options.onSent?.();
        return new Map(instances.map((instance) => [instance, answers.shift() ?? {}]));
      },
    };
    context = {
      workspaceRoot: memory,
      store: at.store,
      keys: at.keys(),
      remote: remote as unknown as SyncContext['remote'],
      printer: new Printer({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream }),
      instances: ['i-1'],
      tree: 'tree',
      stateDirectory: memory,
      index: new PackIndex(at.store, at.keys(), undefined),
      transferOptions: { inline: true, isSecret: () => false, compression: 'auto' },
    };
  });
  afterEach(() => rmSync(memory, { recursive: true }));

  const head = (more: object = {}) => ({
    snapshot: snapshot.id,
    history: [snapshot.id],
    packs: [],
    runtime: RUNTIME,
    written: Date.now(),
    ...more,
  });
  const sync = async () => {
    const scan = async () => ({ snapshot, recipes: new Recipes(undefined) });
    const options = { scan, preflight: async () => undefined, onPlan: () => undefined };
    const done = await syncTree(context, { deliver: async () => nothing() }, options);
    await done.settled;
    return done;
  };
  const known = async () => {
    const local = loadCachedHead(context, 'i-1');
    return local && isFresh(local) ? local : readHead(context, 'i-1');
  };
  const written = async () => (await at.store.getWithETag(at.keys().ref('tree', 'i-1'), 2 ** 16))?.modified;

  it('is cached here with its history for as long as prune keeps that', async () => {
    cacheHead(context, 'i-1', head({ written: Date.now() - 6.9 * DAY }), snapshot);
    expect((await known())!.history).toEqual([snapshot.id]);
  });

  it('is read from the store after that, or else is a snapshot without a history', async () => {
    cacheHead(context, 'i-1', head({ written: Date.now() - 7.1 * DAY, history: [GONE], packs: [[GONE, 1]] }), snapshot);
    const alone = (await known())!;
    expect([alone.history, alone.packs, alone.read().id]).toEqual([[], [], snapshot.id]);
    await storeHead(context, 'i-1', head());
    at.age(20);
    const stored = (await known())!;
    expect(stored.history).toEqual([snapshot.id]);
    expect(Math.abs(Date.now() - 20 * DAY - stored.written)).toBeLessThan(60_000);
  });

  it('is written again by a sync that changes nothing, once a day', async () => {
    await storeHead(context, 'i-1', head());
    at.age(80);
    const before = (await written())!;
    await sync();
    expect(await written()).toBeGreaterThan(before);
    at.age(0.5);
    const after = await written();
    await sync();
    expect(await written()).toBe(after);
  });

  it('is as if it were not there if its ref names a manifest twice, or more bytes than a chain may have', async () => {
    const read = jest.spyOn(at.store, 'get');
    await storeHead(context, 'i-1', head({ history: [snapshot.id, snapshot.id] }));
    expect(await known()).toBeNull();
    expect(read).not.toHaveBeenCalled();
    const ids = Array.from({ length: MAX_HISTORY }, (_, n) => String(n).padStart(64, '0'));
    await storeHead(context, 'i-1', head({ history: ids }));
    let held = 0;
    read.mockImplementation(async () => {
      held += MAX_MANIFEST_BYTES;
      return { length: MAX_MANIFEST_BYTES } as Buffer;
    });
    expect(await known()).toBeNull();
    expect(held).toBeGreaterThan(MAX_CHAIN_BYTES);
    expect(held).toBeLessThan(MAX_CHAIN_BYTES + 5 * MAX_MANIFEST_BYTES);
    read.mockRestore();
  });

  it('is replaced by a full manifest if a manifest of its history is gone', async () => {
    await storeHead(context, 'i-1', head());
    answers = [new RemoteFailure('FETCH_FAILED', 'gone', { what: 'manifest', status: 404 })];
    expect((await sync()).commands).toBe(2);
    expect(sent.map(({ base, canonical: manifest }) => [base, manifest !== null])).toEqual([
      [snapshot.id, false],
      [null, true],
    ]);
  });

  it('is replaced by a full manifest if only a pack of its history is gone', async () => {
    await storeHead(context, 'i-1', head());
    const pack = (await known())!.packs[0][0];
    answers = [new RemoteFailure('FETCH_FAILED', 'gone', { what: 'pack', status: 404, pack })];
    expect((await sync()).commands).toBe(2);
    expect(sent.map(({ packs }) => packs.length)).toEqual([1, 0]);
  });

  it('is not replaced if the plan of the command cannot be fetched', async () => {
    await storeHead(context, 'i-1', head());
    answers = [new RemoteFailure('FETCH_FAILED', 'no route', { what: 'plan', status: 403 })];
    await expect(sync()).rejects.toMatchObject({ remoteCode: 'FETCH_FAILED' });
    expect(sent).toHaveLength(1);
  });
});
