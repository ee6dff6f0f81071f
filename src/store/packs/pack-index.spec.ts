import { randomBytes } from 'node:crypto';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { PackIndex } from './pack-index';
import { StoreKeys } from '../keys';
import type { Store } from '../store';
import { formatIndex, indexName, indexTime, packRecord, parseIndex, type IndexedPack } from './index-format';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const HEAD = Buffer.from('NX-EC2 index 1\n');

/** Index objects by their names, as S3 lists and gives them. */
class Objects {
  readonly all = new Map<string, Buffer>();
  failing = new Set<string>();
  /** Called when a list was made. */
  onList: () => void = () => undefined;
  lists = 0;
  gets = 0;

  readonly store = {
    list: async (prefix: string, _limit: number, after = '') => {
      this.lists++;
      const keys = [...this.all.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
      this.onList();
      return keys.map((key) => ({ key, size: this.all.get(key)?.length ?? 0, modified: 0 }));
    },
    get: async (key: string) => {
      this.gets++;
      if (this.failing.has(key)) throw new Error('cut off');
      return this.all.get(key) ?? null;
    },
    put: async (key: string, bytes: Buffer) => void this.all.set(key, bytes),
    now: async () => new Date(),
  } as unknown as Store;
}

const keys = new StoreKeys('', 'model');
const pack = (): IndexedPack => ({
  sha256: randomBytes(32).toString('hex'),
  size: 100,
  chunks: [randomBytes(32).toString('hex')],
});

describe('the packs that a machine knows', () => {
  let objects: Objects;
  let directory: string;
  let file: string;
  beforeEach(() => {
    jest.useFakeTimers({ now: Date.UTC(2026, 0, 10, 12), doNotFake: ['nextTick', 'setImmediate'] });
    objects = new Objects();
    directory = mkdtempSync(join(tmpdir(), 'nx-ec2-packs-'));
    file = join(directory, 'packs');
  });
  afterEach(() => {
    jest.useRealTimers();
    rmSync(directory, { recursive: true });
  });

  const open = () => new PackIndex(objects.store, keys, file);
  const write = (packs: IndexedPack[], time = new Date()) => {
    const bytes = formatIndex(packs);
    const key = keys.index(indexName(bytes, time));
    objects.all.set(key, bytes);
    return key;
  };
  const refreshed = async (index: PackIndex) => {
    jest.advanceTimersByTime(61_000);
    await index.refresh();
    return index;
  };
  const knows = (index: PackIndex, { chunks, sha256 }: IndexedPack) => index.find(chunks[0])?.sha256 === sha256;

  it('come from each index once, though the pending deletes are listed after it', async () => {
    const known = pack();
    write([known]);
    objects.all.set(keys.pendingDeletes, Buffer.from('{}'));
    const index = await refreshed(open());
    await refreshed(index);
    expect(knows(await refreshed(open()), known)).toBe(true);
    expect(objects.gets).toBe(1);
  });

  it('include what was added to an index while the others were read', async () => {
    const [one, two] = [pack(), pack()];
    const old = [write([one], new Date(Date.now() - HOUR)), write([two], new Date(Date.now() - HOUR + 1))];
    objects.onList = () => {
      objects.onList = () => undefined;
      write([one, two]);
      for (const key of old) objects.all.delete(key);
    };
    const index = await refreshed(open());
    expect([knows(index, one), knows(index, two)]).toEqual([true, true]);
  });

  it('include those of an index written late or by a clock that is behind', async () => {
    write([pack()]);
    const index = await refreshed(open());
    const late = pack();
    write([late], new Date(Date.now() - 23 * HOUR));
    expect(knows(await refreshed(index), late)).toBe(true);
    expect(knows(await refreshed(open()), late)).toBe(true);
  });

  it('include those of an index written after one whose clock is ahead', async () => {
    write([pack()], new Date(Date.now() + 400 * DAY));
    const index = await refreshed(open());
    const later = pack();
    write([later]);
    expect(knows(await refreshed(index), later)).toBe(true);
  });

  it('include those of an index that could not be read before', async () => {
    const [failing, later] = [pack(), pack()];
    const key = write([failing], new Date(Date.now() - 3 * DAY));
    write([later]);
    objects.failing.add(key);
    const index = await refreshed(open());
    expect([knows(index, failing), knows(index, later)]).toEqual([false, true]);
    objects.failing.clear();
    expect(knows(await refreshed(open()), failing)).toBe(true);
  });

  it('are cached for 7 days, also in a process that lives longer, and then read again', async () => {
    const known = pack();
    const key = write([known]);
    const index = await refreshed(open());
    jest.advanceTimersByTime(7 * DAY - HOUR);
    expect([knows(index, known), knows(open(), known)]).toEqual([true, true]);
    jest.advanceTimersByTime(HOUR + 1);
    expect([knows(index, known), knows(open(), known)]).toEqual([false, false]);
    const again = await refreshed(open());
    expect(knows(again, known)).toBe(true);
    objects.all.delete(key);
    jest.advanceTimersByTime(7 * DAY + 1);
    expect(knows(await refreshed(open()), known)).toBe(false);
  });

  it('are read again if the clock was set back since', async () => {
    const known = pack();
    write([known]);
    await refreshed(open());
    jest.setSystemTime(Date.now() - 2 * DAY);
    expect(knows(open(), known)).toBe(false);
  });

  it('include those uploaded from here after a kill in the middle of a cached line', async () => {
    const known = pack();
    open().add(known);
    appendFileSync(file, '{"at":1,"pa');
    const next = pack();
    open().add(next);
    const index = open();
    expect([knows(index, known), knows(index, next)]).toEqual([true, true]);
    await index.publish();
    const other = new PackIndex(objects.store, keys, undefined);
    await refreshed(other);
    expect([knows(other, known), knows(other, next)]).toEqual([true, true]);
    await open().publish();
    expect(objects.all.size).toBe(1);
    expect(readFileSync(file, 'utf8')).toContain('published');
  });

  it('are those of the newest indexes if there are more than a machine can remember, which it says', async () => {
    const packs = Array.from({ length: 4 }, () => ({
      ...pack(),
      chunks: Array.from({ length: 10 }, () => randomBytes(32).toString('hex')),
    }));
    packs.forEach((each, hour) => void write([each], new Date(Date.now() - (10 - hour) * HOUR)));
    const said: string[] = [];
    const limited = (limits: { chunks: number; bytes: number }, where?: string) =>
      new PackIndex(objects.store, keys, where, (text) => said.push(text), limits);
    const known = (index: PackIndex) => packs.map((each) => knows(index, each));
    const chunks = { chunks: 25, bytes: 1e6 };
    expect(known(await refreshed(limited(chunks, file)))).toEqual([false, false, true, true]);
    expect(said).toEqual([expect.stringContaining('more than 25 chunks or 976.6 KB: 2 index objects are ignored')]);
    // A later command has them from this machine, and asks for none of them again.
    const { gets } = objects;
    expect(known(limited(chunks, file))).toEqual([false, false, true, true]);
    await refreshed(limited(chunks, file));
    expect(objects.gets).toBe(gets);
    const [size] = [...objects.all.values()].map(({ length }) => length);
    expect(known(await refreshed(limited({ chunks: 1e6, bytes: size * 1.5 })))).toEqual([false, false, false, true]);
  });

  it('are cached in a file that is begun again if it has grown too large to be read', async () => {
    open().add(pack());
    truncateSync(file, 2 ** 29 + 1);
    const known = pack();
    open().add(known);
    expect(statSync(file).size).toBeLessThan(1_000);
    expect(knows(open(), known)).toBe(true);
  });

  it('are those of the newest index that names a chunk, also for a later command', async () => {
    const [old, moved] = [pack(), pack()];
    write([old], new Date(Date.now() - HOUR));
    write([{ ...moved, chunks: old.chunks }]);
    expect((await refreshed(open())).find(old.chunks[0])?.sha256).toBe(moved.sha256);
    expect(open().find(old.chunks[0])?.sha256).toBe(moved.sha256);
  });

  it('come from an index that has no more chunks than it may have', () => {
    const hashes = Buffer.alloc(524_289 * 32, randomBytes(32 * 1024));
    const chunks = Array.from({ length: 524_289 }, (_, n) => hashes.toString('hex', n * 32, n * 32 + 32));
    const half = (from: number, to: number) => ({ ...pack(), chunks: chunks.slice(from, to) });
    const parse = (packs: IndexedPack[]) => () =>
      parseIndex(deflateSync(Buffer.concat([HEAD, ...packs.map(packRecord)]), { level: 0 }));
    expect(parse([half(0, 524_288)])()).toHaveLength(1);
    expect(parse([half(0, 524_289)])).toThrow('it names more than 524,288 chunks');
    expect(parse([half(0, 300_000), half(300_000, 524_289)])).toThrow('it names more than 524,288 chunks');
    expect(parse([half(0, 0)])).toThrow('without chunks');
  });

  it('come from indexes whose name holds a time', () => {
    const time = Date.UTC(2026, 1, 3, 4, 5, 6, 7);
    expect(indexTime(indexName(formatIndex([]), new Date(time)))).toBe(time);
    expect(indexTime('pending-deletes')).toBeUndefined();
  });
});
