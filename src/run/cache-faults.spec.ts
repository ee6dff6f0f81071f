import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  type Stats,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import type { Aws } from '../aws/clients';
import { learnCaller, rememberedCaller } from '../instance/describe/caller';
import { onDemandPrice } from '../instance/price/price-list';
import { HashCache } from '../snapshot/hash-cache';
import { ChunkList } from '../snapshot/chunk-list';
import { Recipes } from '../snapshot/recipes';
import { Snapshot } from '../snapshot/snapshot';
import { StoreKeys } from '../store/keys';
import { PackIndex } from '../store/packs/pack-index';
import { cacheSecret, readCachedSecret, readRunState, writeRunState } from '../store/run-state';
import type { Store } from '../store/store';
import { loadCachedHead, cacheHead } from '../sync/manifest/head';
import { takeCacheFailure } from '../system/cache-file';
import { reportedKeys, reportKey } from '../workspace/key-log';
import { sharedListing } from '../workspace/files/shared-listing';
import { machineState, stateDirectory } from '../workspace/state';
import type { SyncContext } from '../sync/context';

const HASH = 'a'.repeat(64);
const keys = new StoreKeys('team', 'model');

/** A kind of file of the cache: how it is written, and what it says, null where it says nothing. */
interface Kind {
  write(): void | Promise<void>;
  read(): unknown;
  /** Lines that stand for themselves: what is cut says less. */
  lines?: boolean;
}

const arn = 'arn:aws:iam::123456789012:user/ann';
const answers = (answer: object) => ({ send: async () => answer });
const price = JSON.stringify({
  terms: { OnDemand: { a: { priceDimensions: { b: { unit: 'Hrs', pricePerUnit: { USD: '1.5' } } } } } },
});
/** Another one each time: what a process has asked is not asked again of the same. */
const aws = (asked = () => undefined) =>
  ({
    accessKey: async () => 'key',
    call: async () => ({ Arn: arn }),
    pricing: async () => (asked(), answers({ PriceList: [price] })),
  }) as unknown as Aws;

const file = { kind: 'file', path: 'a', sha256: HASH, size: 1, executable: false } as const;
const snapshot = Snapshot.of([file]);
const stat = { size: 1, mtimeMs: 1, ctimeMs: 1, ino: 1 } as Stats;
const store = { bucket: 'b', list: async () => [], now: async () => new Date() } as unknown as Store;
const context = () => ({ stateDirectory: machineState(), store, keys, tree: 't' }) as unknown as SyncContext;
const at = (name: string) => join(machineState(), name);

const KINDS: Record<string, Kind> = {
  'the caller': {
    write: async () => void (await learnCaller(aws())),
    read: async () => (await rememberedCaller(aws())) ?? null,
  },
  'a head': {
    write: () =>
      cacheHead(
        context(),
        'i-1',
        { snapshot: snapshot.id, history: [HASH], packs: [[HASH, 1]], runtime: 'h', written: 5 },
        snapshot,
      ),
    read: () => {
      const head = loadCachedHead(context(), 'i-1');
      try {
        return head && { ...head, read: head.read().id };
      } catch {
        return null;
      }
    },
  },
  'hashes of files': {
    write: () => HashCache.save(at('hashes'), [file], [stat], 'id', 10_000),
    read: () => {
      const cache = HashCache.load(at('hashes'));
      const row = cache.cursor()('a');
      return row === null ? null : [cache.sha256(row), cache.holds(row, stat), cache.snapshot];
    },
  },
  'recipes of large files': {
    write: () => {
      const recipes = new Recipes(at('recipes'));
      recipes.set('a', HASH, ChunkList.of([[HASH, 5]]));
      recipes.save(new Set(['a']));
    },
    read: () => new Recipes(at('recipes')).get(HASH) ?? null,
  },
  'what packs hold': {
    write: () => new PackIndex(store, keys, at('packs')).add({ sha256: HASH, size: 7, chunks: ['b'.repeat(64)] }),
    read: () => {
      const { sha256, size } = new PackIndex(store, keys, at('packs')).find('b'.repeat(64)) ?? {};
      return sha256 ? { sha256, size } : null;
    },
    lines: true,
  },
  prices: {
    write: async () => void (await onDemandPrice(aws(), 'eu-west-1', 'm5.large')),
    read: async () => {
      let asked = false;
      const { perHour } = await onDemandPrice(
        aws(() => void (asked = true)),
        'eu-west-1',
        'm5.large',
      );
      return asked ? null : perHour;
    },
  },
  'what is kept of a run': {
    write: () => writeRunState(['s', 'p', 'r'], { secret: Buffer.alloc(32, 1), seen: [1, 2] }),
    read: () => {
      const state = readRunState(['s', 'p', 'r']);
      return state.secret ? [state.secret.toString('hex'), state.seen] : null;
    },
  },
  "a store's secret": {
    write: () => cacheSecret(['s'], Buffer.alloc(32, 2)),
    read: () => readCachedSecret(['s'])?.toString('hex') ?? null,
  },
  'what Nx was told': {
    write: () => reportKey(process.cwd(), 'p', { at: 5, settings: HASH, snapshot: HASH, versions: ['v'] }),
    read: () => reportedKeys(process.cwd(), 'p', 0)[0] ?? null,
    lines: true,
  },
  'the list of a workspace': {
    write: async () => void (await sharedListing(process.cwd(), async () => LISTING)),
    read: async () => {
      let listed = false;
      await sharedListing(process.cwd(), async () => ((listed = true), LISTING));
      return listed ? null : 'kept';
    },
  },
};
const LISTING = { projectGraph: { nodes: {}, dependencies: {} }, files: { p: ['package.json'] } };

describe.each(Object.entries(KINDS))('the cache file of %s', (_name, kind) => {
  const { env } = process;
  let directory: string;
  beforeEach(() => {
    jest.useFakeTimers({ now: 1_000_000, doNotFake: ['nextTick', 'setImmediate', 'setTimeout', 'queueMicrotask'] });
    directory = mkdtempSync(join(tmpdir(), 'nx-ec2-cache-'));
    process.env = { ...env, NX_EC2_CACHE_DIRECTORY: join(directory, 'cache') };
    takeCacheFailure();
  });
  afterEach(() => {
    jest.useRealTimers();
    process.env = env;
    rmSync(directory, { recursive: true, force: true });
  });

  const files = () =>
    readdirSync(machineState(), { recursive: true, withFileTypes: true })
      .filter((each) => each.isFile())
      .map((each) => join(each.parentPath, each.name));
  const written = async () => {
    await kind.write();
    expect(files()).toHaveLength(1);
    const [path] = files();
    return { path, bytes: readFileSync(path) };
  };

  it('is read as it was written, and nobody else may read it', async () => {
    const { path } = await written();
    expect(await kind.read()).not.toBeNull();
    expect(statSync(path).mode & 0o077).toBe(0);
  });

  it('counts as absent if it is truncated at any byte, or empty', async () => {
    const { path, bytes } = await written();
    const whole = await kind.read();
    for (let size = 0; size < bytes.length; size++) {
      writeFileSync(path, bytes.subarray(0, size));
      const read = await kind.read();
      // Only a line end may be cut without a loss.
      if (read !== null) {
        expect(kind.lines && size >= bytes.length - 1).toBe(true);
        expect(read).toEqual(whole);
      }
      writeFileSync(path, bytes);
    }
  });

  it('never throws, for any kind of file in its place', async () => {
    const { path, bytes } = await written();
    const text = bytes.toString('latin1');
    const other = fc.oneof(
      fc.uint8Array({ maxLength: 100 }).map((each) => Buffer.from(each)),
      fc.json().map((each) => Buffer.from(each)),
      fc
        .constantFrom('null', '[]', '{"v":1}', '{"v":2}\n', '{"v":2,"count":-1}\n', '{"v":2,"count":1e15,"size":0}\n')
        .map(Buffer.from),
      fc
        .tuple(fc.nat(text.length - 1), fc.string({ unit: 'binary', maxLength: 3 }))
        .map(([place, change]) => Buffer.from(text.slice(0, place) + change + text.slice(place + 1), 'latin1')),
    );
    await fc.assert(
      fc.asyncProperty(other, async (content) => {
        writeFileSync(path, content);
        await kind.read();
        await kind.write();
      }),
      { numRuns: 60 },
    );
  });

  it('counts as absent if its path is a directory', async () => {
    const { path } = await written();
    rmSync(path);
    mkdirSync(join(path, 'x'), { recursive: true });
    expect(await kind.read()).toBeNull();
    await kind.write();
    expect(takeCacheFailure()).toContain("The cache can't be written");
    // Nothing is left beside it.
    expect(readdirSync(dirname(path))).toHaveLength(1);
  });

  it('counts as absent, and is not waited for, if its path is a pipe', async () => {
    const { path } = await written();
    rmSync(path);
    execFileSync('mkfifo', [path]);
    expect(await kind.read()).toBeNull();
    // In another process, a write would end only with a reader.
    await kind.write();
  });

  it("does not stop a command if the cache can't be written, which is reported once", async () => {
    writeFileSync(join(directory, 'cache'), 'a file');
    await kind.write();
    expect(await kind.read()).toBeNull();
    expect(takeCacheFailure()).toContain('NX_EC2_CACHE_DIRECTORY');
    expect(takeCacheFailure()).toBeNull();
  });
});

it('every file of the cache is written by one module', () => {
  const writes = /\b(writeFileSync|renameSync|appendFileSync|createWriteStream)\b/;
  const uses = /\b(machineState|stateDirectory)\(/;
  const found = readdirSync(join(__dirname, '..'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /(?<!spec|fixture)\.ts$/.test(name) && !name.startsWith('local-aws'))
    .filter((name) => {
      const text = readFileSync(join(__dirname, '..', name), 'utf8');
      return writes.test(text) && uses.test(text);
    });
  expect(found).toEqual([]);
  expect(stateDirectory(process.cwd()).startsWith(machineState())).toBe(true);
});
