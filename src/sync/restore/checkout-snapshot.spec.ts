import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { listed, Pipeline, startPipeline } from '../../run/pipeline.fixture';
import type { FileEntry } from '../../snapshot/entry';
import { scan } from '../../snapshot/scan';
import { Snapshot } from '../../snapshot/snapshot';
import { MAX_HISTORY } from '../manifest/manifest';
import { readSnapshot } from '../manifest/read-snapshot';
import { restoreSnapshot } from './checkout-snapshot';
import { putUnreadable } from '../../local-aws/unreadable.fixture';
import { formatIndex, indexName } from '../../store/packs/index-format';
import { readDirectory } from '../../store/packs/pack';

const MB = 1024 * 1024;

/** What a machine that never saw the workspace makes of the store's snapshots. */
describe('restoring a snapshot', () => {
  let at: Fixture;
  let pipe: Pipeline;
  let home: string;
  let warnings: string[];
  const warn = (text: string) => void warnings.push(text);
  beforeAll(async () => void (at = await startPipeline({ instances: ['box'] })));
  afterAll(() => at.close());
  beforeEach(async () => {
    warnings = [];
    pipe = await new Pipeline(at, 'store').open();
    home = mkdtempSync(join(tmpdir(), 'nx-ec2-restored-'));
  });
  afterEach(() => {
    at.aws.faults.clear();
    pipe.close();
    rmSync(home, { recursive: true, force: true });
  });

  const restore = async (id: string, target = join(home, id.slice(0, 8)), onProgress?: (bytes: number) => void) => {
    const { store, keys } = pipe.context;
    await restoreSnapshot(store, keys, await readSnapshot(store, keys, id), target, {
      warn,
      onProgress,
    });
    return target;
  };
  const idOf = async (directory: string) =>
    (await scan({ workspaceRoot: directory, paths: listed(directory), emptyDirectories: ['empty'] })).snapshot.id;
  /** Syncs with an empty directory, which the pipeline's own scan does not look for. */
  const sync = async () => {
    const options = pipe.syncOptions();
    const seen = await options.scan();
    const { snapshot } = await scan({
      workspaceRoot: pipe.workspace,
      paths: listed(pipe.workspace),
      emptyDirectories: ['empty'],
    });
    return (await pipe.sync({ scan: async () => ({ ...seen, snapshot }) })).snapshot.id;
  };
  const packs = () => pipe.keys((key) => key.includes('v2/packs/'));

  it('restores files, executable bits, links, empty directories and large files of each state', async () => {
    const large = randomBytes(3 * MB);
    mkdirSync(join(pipe.workspace, 'empty'));
    pipe.write('model/train.py', 'print(1)\n');
    pipe.write('model/run.sh', '#!/bin/sh\n', 0o755);
    pipe.write('model/nothing', '');
    pipe.write('model/large', large);
    pipe.write('model/same', large);
    for (let file = 0; file < 60; file++) pipe.write(`model/src/${file}.py`, randomBytes(900).toString('hex'));
    symlinkSync('../model/train.py', join(pipe.workspace, 'model/link'));
    const first = await sync();
    pipe.write('model/train.py', 'print(2)\n');
    pipe.write('model/large', Buffer.concat([large.subarray(0, MB), Buffer.from('between'), large.subarray(MB)]));
    rmSync(join(pipe.workspace, 'model/run.sh'));
    const second = await sync();
    expect(second).not.toBe(first);
    let told = 0;
    const now = await restore(second, undefined, (bytes) => (told = bytes));
    expect(await idOf(now)).toBe(second);
    const files = listed(pipe.workspace).filter((path) => path !== 'model/link');
    for (const path of files)
      expect(readFileSync(join(now, path)).equals(readFileSync(join(pipe.workspace, path)))).toBe(true);
    expect(told).toBeGreaterThan(6 * MB);
    const before = await restore(first);
    expect(await idOf(before)).toBe(first);
    expect(readFileSync(join(before, 'model/train.py'), 'utf8')).toBe('print(1)\n');
    expect(lstatSync(join(before, 'model/run.sh')).mode & 0o777).toBe(0o755);
    expect(readlinkSync(join(before, 'model/link'))).toBe('../model/train.py');
    expect(readdirSync(join(before, 'empty'))).toEqual([]);
    expect(readdirSync(home).sort()).toEqual([first.slice(0, 8), second.slice(0, 8)].sort());
  });

  it('restores a state that was returned to, and one that is older than the history', async () => {
    const ids: string[] = [];
    for (const text of ['a', 'b', 'a', 'c', 'b']) {
      pipe.write('model/a', text);
      ids.push((await pipe.sync()).snapshot.id);
    }
    expect([ids[2], ids[4]]).toEqual([ids[0], ids[1]]);
    for (let edit = 0; edit < MAX_HISTORY + 2; edit++) {
      pipe.write('model/a', `edit ${edit}`);
      ids.push((await pipe.sync()).snapshot.id);
    }
    for (const id of new Set(ids)) expect(readFileSync(join(await restore(id), 'model/a'), 'utf8')).toBeDefined();
    expect(readFileSync(join(await restore(ids[1], join(home, 'b')), 'model/a'), 'utf8')).toBe('b');
  });

  it('works if two trees reached the same snapshots in another order', async () => {
    const there = async (tree: string, text: string) => {
      await pipe.open({ sync: { tree } });
      pipe.write('model/a', text);
      return (await pipe.sync()).snapshot.id;
    };
    const a = await there('one', 'a');
    const c = await there('two', 'c');
    const b = await there('one', 'b');
    await there('two', 'b');
    expect(await there('two', 'a')).toBe(a);
    for (const id of [a, b, c]) await restore(id);
    // The head names these manifests.
    const { reply } = await pipe.sync();
    rmSync(dirname(reply.tree), { recursive: true });
    pipe.write('model/a', 'd');
    const again = await pipe.sync();
    expect(readFileSync(join(again.reply.tree, 'model/a'), 'utf8')).toBe('d');
  });

  it('continues where it was stopped, with the content that it had fetched', async () => {
    pipe.write('model/large', randomBytes(12 * MB));
    pipe.write('model/small', randomBytes(100_000));
    const id = (await pipe.sync()).snapshot.id;
    at.aws.faults.add({ service: 's3', after: 4, times: 100, error: { code: 'Killed', status: 400 } });
    await expect(restore(id)).rejects.toMatchObject({ name: 'Problem' });
    at.aws.faults.clear();
    expect(existsSync(join(home, id.slice(0, 8)))).toBe(false);
    await restore(id);
    expect(readdirSync(home)).toEqual([id.slice(0, 8)]);
  });

  it('names the file if the disk is full, keeps what it has fetched, and continues from there', async () => {
    for (const name of ['a', 'b', 'c']) pipe.write(`model/${name}`, randomBytes(100_000));
    const id = (await pipe.sync()).snapshot.id;
    const open = fs.open;
    let left = 150_000;
    jest.spyOn(fs, 'open').mockImplementation(async (...args) => {
      const file = await open(...args);
      const write = file.write.bind(file) as (...of: unknown[]) => Promise<{ bytesWritten: number }>;
      const limited = async (...of: unknown[]) => {
        if (left <= 0) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC', syscall: 'write' });
        const done = await write(of[0], of[1], Math.min(left, of[2] as number), of[3]);
        left -= done.bytesWritten;
        return done;
      };
      return Object.assign(file, { write: limited });
    });
    const target = join(home, 'out');
    await expect(restore(id, target)).rejects.toMatchObject({
      code: 'DISK_FULL',
      message: expect.stringMatching(/The disk of .*out\..*\.nx-ec2-part\/files\/model is full/),
    });
    expect(existsSync(target)).toBe(false);
    jest.restoreAllMocks();
    await restore(id, target);
    expect(await idOf(target)).toBe(await idOf(pipe.workspace));
    expect(readdirSync(home)).toEqual(['out']);
  });

  it('writes nothing if a small object stands for more than the disk holds', async () => {
    pipe.write('model/a', randomBytes(1000));
    const { store, keys } = pipe.context;
    const stored = await readSnapshot(store, keys, (await pipe.sync()).snapshot.id);
    const [entry] = stored.snapshot.entries.filter(({ path }) => path === 'model/a') as FileEntry[];
    jest.spyOn(fs, 'statfs').mockResolvedValue({ bavail: 9, bsize: 1000 } as never);
    const copies = (count: number) => ({
      ...stored,
      snapshot: Snapshot.of(Array.from({ length: count }, (_, n) => ({ ...entry, path: `model/${n}` }))),
    });
    const target = join(home, 'out');
    await expect(restoreSnapshot(store, keys, copies(10), target, { warn })).rejects.toMatchObject({
      code: 'DISK_FULL',
      what: expect.stringContaining('need ') as string,
    });
    expect(existsSync(target)).toBe(false);
    await restoreSnapshot(store, keys, copies(9), target, { warn });
    expect(readdirSync(join(target, 'model'))).toHaveLength(9);
    jest.restoreAllMocks();
  });

  it('never overwrites an existing directory', async () => {
    pipe.write('model/a', 'one');
    const { id } = (await pipe.sync()).snapshot;
    const target = join(home, 'taken');
    mkdirSync(target);
    writeFileSync(join(target, 'mine'), '');
    await expect(restore(id, target)).rejects.toMatchObject({ code: 'TARGET_TAKEN' });
    rmSync(join(target, 'mine'));
    await restore(id, target);
    expect(readdirSync(target)).toEqual(['model']);
  });

  it.each([
    ['is a link', (stage: string) => symlinkSync(mkdtempSync(join(tmpdir(), 'nx-ec2-others-')), stage)],
    [
      'others may write to',
      (stage: string) => {
        mkdirSync(stage);
        chmodSync(stage, 0o777);
      },
    ],
    ['is a file', (stage: string) => writeFileSync(stage, '')],
  ])('writes nothing if the directory beside the target %s', async (_how, prepare) => {
    pipe.write('model/a', 'one');
    const { id } = (await pipe.sync()).snapshot;
    const target = join(home, `beside-${id.slice(0, 8)}`);
    const stage = `${target}.${id.slice(0, 16)}.nx-ec2-part`;
    prepare(stage);
    await expect(restore(id, target)).rejects.toMatchObject({
      code: 'TARGET_TAKEN',
      message: expect.stringContaining(stage),
    });
    expect(existsSync(target)).toBe(false);
    expect(statSync(stage).isFile() ? [] : readdirSync(stage)).toEqual([]);
    rmSync(stage, { recursive: true });
  });

  it('leaves nothing beside the target, wherever an attempt was killed', async () => {
    pipe.write('model/a', 'one');
    const { id } = (await pipe.sync()).snapshot;
    const target = join(home, 'killed');
    const { rm } = fs;
    const removed = jest.spyOn(fs, 'rm').mockImplementation(async (path, options) => {
      if (String(path).endsWith('.nx-ec2-part')) throw new Error('killed');
      return rm(path, options);
    });
    await expect(restore(id, target)).rejects.toThrow('killed');
    removed.mockRestore();
    expect(readdirSync(home)).toHaveLength(2);
    await expect(restore(id, target)).rejects.toMatchObject({ code: 'TARGET_TAKEN' });
    expect(readdirSync(home)).toEqual(['killed']);
    expect(readFileSync(join(target, 'model/a'), 'utf8')).toBe('one');
  });

  it('reports packs that are gone, and uses no pack that is damaged', async () => {
    for (const file of ['a', 'b']) pipe.write(`model/${file}`, randomBytes(90_000));
    const before = await packs();
    const { id } = (await pipe.sync()).snapshot;
    const own = (await packs()).filter((key) => !before.includes(key));
    for (const Key of own) await at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body: randomBytes(5_000) }));
    await expect(restore(id)).rejects.toMatchObject({ code: 'PACK_MISMATCH' });
    for (const Key of own) await at.s3.send(new DeleteObjectCommand({ Bucket: 'bucket', Key }));
    // An index that can't be read might have named other packs.
    const index = pipe.context.keys.index(indexName(Buffer.from('no index'), new Date()));
    await at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key: index, Body: 'no index' }));
    await expect(restore(id)).rejects.toMatchObject({ code: 'CONTENTS_GONE', message: expect.stringMatching(/prune/) });
    expect(warnings).toEqual([expect.stringContaining(`The index ${index} (8 bytes) can't be read`)]);
    await at.s3.send(new DeleteObjectCommand({ Bucket: 'bucket', Key: index }));
    await at.s3.send(new DeleteObjectCommand({ Bucket: 'bucket', Key: pipe.context.keys.manifest(id) }));
    await expect(restore(id)).rejects.toMatchObject({ code: 'SNAPSHOT_GONE' });
  });

  it('is not kept busy by a manifest that names thousands of packs', async () => {
    pipe.write('model/kept', randomBytes(90_000));
    const { id } = (await pipe.sync()).snapshot;
    const { store, keys } = pipe.context;
    const stored = await readSnapshot(store, keys, id);
    const forged = Array.from({ length: 2000 }, (_, n): [string, number] => [String(n).padStart(64, '0'), 1]);
    const read = jest.spyOn(store, 'getSuffix');
    const checkout = (name: string) =>
      restoreSnapshot(store, keys, { ...stored, packs: [...forged, ...stored.packs] }, join(home, name), { warn });
    await checkout('there');
    expect(readFileSync(join(home, 'there/model/kept'))).toHaveLength(90_000);
    // The indexes say where it is.
    expect(read.mock.calls.length).toBeLessThan(10);
    read.mockClear();
    for (const [sha256] of stored.packs) await store.delete([keys.pack(sha256)]);
    await expect(checkout('gone')).rejects.toMatchObject({ code: 'CONTENTS_GONE' });
    expect(read.mock.calls.length).toBeLessThan(300);
    read.mockRestore();
  });

  it('finds a pack that S3 does not return in another one that an index names', async () => {
    pipe.write('model/unreadable', randomBytes(90_000));
    const before = await packs();
    const { id } = (await pipe.sync()).snapshot;
    const { store, keys } = pipe.context;
    const [own] = (await packs()).filter((key) => !before.includes(key));
    const bytes = (await store.get(own, MB))!;
    await putUnreadable(at, own, 'archived', bytes);
    await expect(restore(id)).rejects.toMatchObject({ code: 'STORE_UNREADABLE' });
    const copy = { sha256: '7'.repeat(64), size: bytes.length };
    const chunks = readDirectory(bytes).flatMap(([, , , names]) => names.map(([name]) => name));
    await store.put(keys.pack(copy.sha256), bytes);
    const index = formatIndex([{ ...copy, chunks }]);
    await store.put(keys.index(indexName(index, new Date())), index);
    expect(readFileSync(join(await restore(id, join(home, 'again')), 'model/unreadable'))).toHaveLength(90_000);
    await store.delete([keys.pack(copy.sha256), keys.index(indexName(index, new Date()))]);
  });

  it('reports that contents sent by an archive are not in the store', async () => {
    const archive = await new Pipeline(at, 'archive').open();
    archive.write('model/large', randomBytes(4 * MB));
    const { id } = (await archive.sync()).snapshot;
    const { store, keys } = archive.context;
    const stored = await readSnapshot(store, keys, id);
    await expect(restoreSnapshot(store, keys, stored, join(home, 'x'), { warn })).rejects.toMatchObject({
      code: 'CONTENTS_GONE',
      message: expect.stringMatching(/model\/large.*\n.*archive/),
    });
    archive.close();
  });
});
