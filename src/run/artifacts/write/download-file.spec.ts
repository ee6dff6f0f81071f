import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { symlinkSync, utimesSync, writeFileSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { StoreFixture } from '../../../store/store.fixture';
import { fetchFile, recoverUnfinished, UNFINISHED } from './download-file';
import { PART_BYTES, type StoredFile } from '../../record/file-lists';
import { RUN } from '../../record/saved-run.fixture';

const MB = 1024 * 1024;
const sha256 = (data: Buffer) => createHash('sha256').update(data).digest('hex');

describe('downloading a file from its parts', () => {
  let at: StoreFixture;
  let directory: string;
  let target: string;
  beforeAll(async () => void (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'nx-ec2-fetch-'));
    target = join(directory, 'deep', 'model.bin');
  });
  afterEach(() => {
    at.local.aws.faults.clear();
    rmSync(directory, { recursive: true, force: true });
  });

  const prefix = () => at.keys().run(RUN);
  const partKey = (name: string) => `${prefix()}part/${name}`;
  const cut = (data: Buffer) =>
    Array.from({ length: Math.ceil(data.length / PART_BYTES) }, (_, n) =>
      data.subarray(n * PART_BYTES, (n + 1) * PART_BYTES),
    );
  const save = async (data: Buffer, executable = false): Promise<StoredFile> => {
    for (const part of cut(data)) await at.store.put(partKey(sha256(part)), part);
    return {
      path: 'out/model.bin',
      size: data.length,
      sha256: sha256(data),
      executable,
      parts: cut(data).map(sha256),
    };
  };
  /** The parts that were asked for while something was done, by their place in the file. */
  const asked = async (entry: StoredFile, work: () => Promise<unknown>) => {
    const before = at.local.aws.requests.length;
    await work();
    return at.local.aws.requests
      .slice(before)
      .filter(({ action, path }) => action === 'GET' && path.includes('/part/'))
      .map(({ path }) => entry.parts.indexOf(path.split('/').pop()!))
      .sort((a, b) => a - b);
  };
  const fetchIt = (entry: StoredFile, more = {}) =>
    fetchFile({ store: at.store, prefix: prefix(), entry }, target, more);

  it("works with the file handles of Yarn Plug'n'Play, which lack some methods", async () => {
    const handle = await open(__filename);
    const prototype = Object.getPrototypeOf(handle) as Record<string, () => unknown>;
    await handle.close();
    const spies = ['datasync', 'sync', 'utimes', 'readv', 'readableWebStream'].map((name) =>
      jest.spyOn(prototype, name).mockImplementation(() => {
        throw new Error('Method not implemented.');
      }),
    );
    try {
      const data = randomBytes(PART_BYTES + 1);
      await fetchIt(await save(data));
      expect(readFileSync(target).equals(data)).toBe(true);
    } finally {
      spies.forEach((spy) => spy.mockRestore());
    }
  });

  it.each([0, 1, 5 * MB, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES])('writes the same %i bytes', async (size) => {
    const data = randomBytes(size);
    const entry = await save(data, true);
    let bytes = 0;
    expect(
      await asked(entry, () => fetchIt(entry, { onBytes: (count: number) => void (bytes += count) })),
    ).toHaveLength(entry.parts.length);
    expect(readFileSync(target).equals(data)).toBe(true);
    expect(statSync(target).mode & 0o777).toBe(0o755);
    expect(existsSync(target + UNFINISHED)).toBe(false);
    expect(bytes).toBe(size);
  });

  it('fetches the missing parts after an abort, and no other', async () => {
    const data = randomBytes(9 * PART_BYTES + 5);
    const entry = await save(data);
    const abort = new AbortController();
    const got: number[] = [];
    const first = await asked(entry, () =>
      expect(
        fetchIt(entry, {
          signal: abort.signal,
          onBytes: (count: number) => {
            got.push(count);
            if (got.length === 2) abort.abort(new Error('stopped here'));
          },
        }),
      ).rejects.toThrow('stopped here'),
    );
    expect(existsSync(target)).toBe(false);
    const kept = readFileSync(target + UNFINISHED);
    const there = entry.parts.flatMap((name, n) =>
      sha256(kept.subarray(n * PART_BYTES, (n + 1) * PART_BYTES)) === name ? [n] : [],
    );
    expect(there.length).toBeGreaterThanOrEqual(2);
    expect(there.length).toBeLessThan(10);
    expect(first).toEqual(expect.arrayContaining(there));

    let fetched = 0;
    const again = await asked(entry, () =>
      fetchIt(entry, { onBytes: (count: number, new_: boolean) => void (fetched += new_ ? count : 0) }),
    );
    expect(again).toEqual([...entry.parts.keys()].filter((n) => !there.includes(n)));
    expect(fetched).toBe(again.reduce((sum, n) => sum + cut(data)[n].length, 0));
    expect(readFileSync(target).equals(data)).toBe(true);
  });

  it('downloads again what was damaged in an unfinished download', async () => {
    const data = randomBytes(3 * PART_BYTES);
    const entry = await save(data);
    await fetchIt(entry);
    const left = Buffer.concat([data, Buffer.from('too long')]);
    left[PART_BYTES + 7] ^= 1;
    writeFileSync(target + UNFINISHED, left);
    expect(await asked(entry, () => fetchIt(entry))).toEqual([1]);
    expect(readFileSync(target).equals(data)).toBe(true);
  });

  it('repeats a request whose response was cut off', async () => {
    const data = randomBytes(2 * PART_BYTES);
    const entry = await save(data);
    at.local.aws.faults.add({ service: 's3', action: 'GET', cut: 'after', times: 2 });
    await fetchIt(entry);
    expect(readFileSync(target).equals(data)).toBe(true);
  });

  it.each([
    ['other bytes', (part: Buffer) => Buffer.concat([Buffer.from('x'), part.subarray(1)]), 'PART_MISMATCH'],
    ['fewer bytes', (part: Buffer) => part.subarray(1), 'PART_MISMATCH'],
    ['more than a part', (part: Buffer) => Buffer.concat([part, part]), 'STORE_TOO_LARGE'],
    ['nothing', () => null, 'PART_MISSING'],
  ])('refuses %s in place of a part, and names it', async (_name, spoil, code) => {
    const data = randomBytes(3 * PART_BYTES);
    const entry = await save(data);
    const spoilt = spoil(cut(data)[1]);
    if (spoilt) await at.store.put(partKey(entry.parts[1]), spoilt);
    else await at.store.delete([partKey(entry.parts[1])]);
    const error = await fetchIt(entry).catch((each: unknown) => each);
    expect(error).toMatchObject({ code });
    expect((error as Error).message).toContain(partKey(entry.parts[1]));
    expect(existsSync(target)).toBe(false);
  });

  it('reads a part again whose bytes were damaged on the way, and fails if they stay so', async () => {
    const data = randomBytes(PART_BYTES + 1);
    const entry = await save(data);
    const get = at.store.getWithETag.bind(at.store);
    let damaged = 1;
    const spy = jest.spyOn(at.store, 'getWithETag').mockImplementation(async (key, ...more) => {
      const stored = await get(key, ...more);
      if (key === partKey(entry.parts[0]) && damaged-- > 0) stored!.bytes[5] ^= 1;
      return stored;
    });
    try {
      await fetchIt(entry);
      expect(readFileSync(target).equals(data)).toBe(true);
      expect(damaged).toBe(-1);
      rmSync(target);
      damaged = Infinity;
      await expect(fetchIt(entry)).rejects.toMatchObject({ code: 'PART_MISMATCH' });
      expect(existsSync(target)).toBe(false);
    } finally {
      spy.mockRestore();
    }
  });

  it('refuses valid parts that do not make the file', async () => {
    const entry = await save(randomBytes(2 * PART_BYTES));
    await expect(fetchIt({ ...entry, parts: [...entry.parts].reverse() })).rejects.toMatchObject({
      code: 'FILE_MISMATCH',
    });
    const [one] = (await save(randomBytes(5))).parts;
    await expect(fetchIt({ ...entry, size: 5, parts: [one] })).rejects.toMatchObject({ code: 'FILE_MISMATCH' });
    expect([existsSync(target), existsSync(target + UNFINISHED)]).toEqual([false, false]);
  });

  it('writes through no link', async () => {
    const entry = await save(randomBytes(5));
    const victim = join(directory, 'victim');
    writeFileSync(victim, 'precious');
    target = join(directory, 'model.bin');
    symlinkSync(victim, target + UNFINISHED);
    await expect(fetchIt(entry)).rejects.toThrow(/ELOOP/);
    expect(readFileSync(victim, 'utf8')).toBe('precious');
  });

  describe('of a process in another PID namespace', () => {
    const HOURS = 3600_000;
    const entryOf = async () => {
      const data = randomBytes(2 * PART_BYTES);
      return { data, entry: await save(data) };
    };
    /** Begins to write a file, as a process in that namespace whose id nobody has here. */
    const begin = (content: Buffer, hours: number) => {
      const name = `${target}.ffffffff-${ENDED}-00000000${UNFINISHED}`;
      mkdirSync(dirname(name), { recursive: true });
      writeFileSync(name, content);
      const time = new Date(Date.now() - hours * HOURS);
      utimesSync(name, time, time);
      return { name, file: openSync(name, 'r+') };
    };
    const { pid: ENDED } = spawnSync('true');

    it('stays as long as that writes to it', async () => {
      const { entry } = await entryOf();
      const { name, file } = begin(Buffer.from('live'), 0.5);
      recoverUnfinished(dirname(target));
      await fetchIt(entry);
      expect(readFileSync(name, 'utf8')).toBe('live');
      closeSync(file);
    });

    it('is made use of when nothing was written to it for an hour, and changes nothing any more', async () => {
      const { data, entry } = await entryOf();
      const { name, file } = begin(data.subarray(0, PART_BYTES), 2);
      recoverUnfinished(dirname(target));
      expect(await asked(entry, () => fetchIt(entry))).toEqual([1]);
      writeSync(file, Buffer.from('late'), 0, 4, 0);
      closeSync(file);
      expect(readFileSync(target).equals(data)).toBe(true);
      expect(existsSync(name)).toBe(false);
      expect(readdirSync(dirname(target))).toEqual(['model.bin']);
    });
  });

  it('changes no file that what is unfinished is another name of', async () => {
    const data = randomBytes(10);
    const precious = join(directory, 'precious');
    writeFileSync(precious, 'precious');
    mkdirSync(dirname(target));
    linkSync(precious, `${target}${UNFINISHED}`);
    await fetchIt(await save(data));
    expect(readFileSync(precious, 'utf8')).toBe('precious');
    expect(readFileSync(target).equals(data)).toBe(true);
  });

  it('says so where its file is taken away meanwhile', async () => {
    const entry = await save(randomBytes(10));
    const check = jest.fn(async () => {
      // Before the file is put in its place.
      if (check.mock.calls.length === 2) rmSync(dirname(target), { recursive: true });
    });
    await expect(fetchIt(entry, { check })).rejects.toMatchObject({
      code: 'FILE_ERROR',
      message: expect.stringMatching(
        /was moved or replaced while .*model\.bin was downloaded into it\.\nRun the same command again/,
      ),
    });
  });
});
