import { createHash, randomBytes } from 'node:crypto';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WHOLE_BYTES } from './chunk';
import { HashCache } from './hash-cache';
import { scan, type LookedAt } from './scan';

const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest('hex');

describe('a scan with cached hashes', () => {
  let root: string;
  let cache: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'nx-ec2-scan-'));
    cache = join(root, '.cache/scan');
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const look = async (...paths: string[]) => scan({ workspaceRoot: root, paths: paths.sort(), cache });
  const hashOf = async (path: string) => {
    const entry = (await look(path)).snapshot.entries[0];
    return entry.kind === 'file' ? entry.sha256 : entry.kind;
  };
  /** As if it had been written long before any scan. */
  const age = (path: string) => utimesSync(join(root, path), 1_000, 1_000);
  const write = (path: string, content: string | Buffer) => writeFileSync(join(root, path), content);
  /** Lies about what a file holds in what is remembered, to see whether it is read. */
  const lie = (path: string) => {
    const stat = statSync(join(root, path));
    const entry = { kind: 'file' as const, path, executable: false, size: stat.size, sha256: sha256('a lie') };
    HashCache.save(`${cache}.hashes`, [entry], [stat], 'the id of a lie', Date.now() + 10_000);
  };

  it('does not read a file whose size, times and inode are the same', async () => {
    write('a', 'content');
    await look('a');
    lie('a');
    expect(await hashOf('a')).toBe(sha256('a lie'));
    expect((await look('a')).snapshot.id).toBe('the id of a lie');
  });

  it.each([
    ['content of the same size and time', () => (write('a', 'CONTENT'), age('a'))],
    ['another time', () => utimesSync(join(root, 'a'), 2_000, 2_000)],
    [
      'another file in its place',
      () => (write('b', 'CONTENT'), age('b'), renameSync(join(root, 'b'), join(root, 'a'))),
    ],
  ])('reads a file again that has %s', async (_what, change) => {
    write('a', 'content');
    age('a');
    await look('a');
    lie('a');
    change();
    expect(await hashOf('a')).toBe(sha256(fs.readFileSync(join(root, 'a'))));
  });

  describe('of files that were looked at before', () => {
    const lookedAt = (...paths: string[]) => ({
      since: Date.now(),
      stats: new Map(paths.map((path) => [path, lstatSync(join(root, path))])),
    });
    const scanLooked = (looked: LookedAt) =>
      scan({ workspaceRoot: root, paths: [...looked.stats.keys()], cache, looked });
    const hashes = async (looked: LookedAt) =>
      (await scanLooked(looked)).snapshot.entries.map((entry) => (entry.kind === 'file' ? entry.sha256 : entry.kind));

    it('takes those that had not changed as they were then, and finds out later that they have', async () => {
      write('a', 'content');
      lie('a');
      const looked = lookedAt('a');
      write('a', 'other content');
      expect(await hashes(looked)).toEqual([sha256('a lie')]);
      expect(await hashOf('a')).toBe(sha256('other content'));
    });

    it('reads those that had changed as they are now, and does not mistake a later change', async () => {
      write('a', 'content');
      lie('a');
      write('a', 'changed');
      const looked = lookedAt('a');
      write('a', 'CHANGED');
      expect(await hashes(looked)).toEqual([sha256('CHANGED')]);
      write('a', 'Changed');
      expect(await hashOf('a')).toBe(sha256('Changed'));
    });

    it('looks again if that was some seconds ago', async () => {
      write('a', 'content');
      lie('a');
      const { stats, since } = lookedAt('a');
      write('a', 'other content');
      expect(await hashes({ stats, since: since - 11_000 })).toEqual([sha256('other content')]);
    });

    it('reads none through a link that has taken the place of a directory', async () => {
      const outside = mkdtempSync(join(tmpdir(), 'nx-ec2-outside-'));
      for (const directory of [join(root, 'd'), outside]) {
        mkdirSync(directory, { recursive: true });
        writeFileSync(join(directory, 'a'), 'content');
      }
      const looked = lookedAt('d/a');
      rmSync(join(root, 'd'), { recursive: true });
      symlinkSync(outside, join(root, 'd'));
      await expect(scanLooked(looked)).rejects.toMatchObject({ code: 'PATH_OUTSIDE' });
      rmSync(outside, { recursive: true });
    });
  });

  it('reads a file again if it was written shortly before the last scan', async () => {
    write('a', 'content');
    const { snapshot } = await look('a');
    const row = HashCache.load(`${cache}.hashes`);
    expect(row.snapshot).toBe(snapshot.id);
    expect(row.holds(0, statSync(join(root, 'a')))).toBe(false);
  });

  it('finds the same snapshot with, without and with a damaged cache', async () => {
    for (const name of ['a', 'b', 'é']) write(name, name);
    const { snapshot } = await look('a', 'b', 'é');
    expect((await look('a', 'b', 'é')).snapshot.id).toBe(snapshot.id);
    expect((await look('a', 'b', 'é')).snapshot.canonical.equals(snapshot.canonical)).toBe(true);
    for (const damage of ['', '{"v":1,"count":3}\n', '{"v":1,"count":1e9,"snapshot":"x"}\nabc']) {
      write('.cache/scan.hashes', damage);
      expect((await look('a', 'b', 'é')).snapshot.id).toBe(snapshot.id);
    }
  });

  it('finds new, deleted, renamed and newly executable files', async () => {
    write('a', '1');
    write('b', '2');
    const first = (await look('a', 'b')).snapshot.id;
    const ids = new Set([first]);
    renameSync(join(root, 'b'), join(root, 'c'));
    ids.add((await look('a', 'c')).snapshot.id);
    ids.add((await look('a')).snapshot.id);
    fs.chmodSync(join(root, 'a'), 0o755);
    ids.add((await look('a')).snapshot.id);
    expect(ids.size).toBe(4);
  });

  it('cuts a large file into chunks, and caches its recipe', async () => {
    const content = randomBytes(2 * WHOLE_BYTES);
    write('large', content);
    const before = await look('large');
    const old = before.recipes.get(sha256(content))!;
    expect(old.total).toBe(content.length);
    const edited = Buffer.concat([Buffer.from('edit'), content]);
    write('large', edited);
    const after = await look('large');
    expect(after.recipes.get(sha256(content))).toEqual(old);
    const again = (await look('large')).recipes;
    expect(again.get(sha256(edited))).toEqual(after.recipes.get(sha256(edited)));
    expect(again.get(sha256(content))).toEqual(old);
  });
});
