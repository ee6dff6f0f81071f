import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { FileEvents } from './file-events';

describe('file events', () => {
  let workspaceRoot: string;
  let events: FileEvents;
  const write = (...paths: string[]) => {
    for (const path of paths) {
      mkdirSync(dirname(join(workspaceRoot, path)), { recursive: true });
      writeFileSync(join(workspaceRoot, path), path);
    }
  };
  /** The paths of all bursts until each of `expected` was in one; null is any. */
  const until = async (...expected: string[]) => {
    const seen = new Set<string>();
    let any = false;
    while (!any && !expected.every((path) => seen.has(path))) {
      const batch = await events.next(60_000);
      if (!batch) throw new Error(`nothing came of ${expected.join(', ')}; there was ${[...seen].join(', ')}`);
      batch.paths?.forEach((path) => seen.add(path));
      any = batch.paths === null;
    }
    return any ? null : [...seen].sort();
  };
  const open = (places = ['model', 'libs/a'], tracked: string[] = []) => {
    events = new FileEvents({
      workspaceRoot,
      places,
      except: ['model/artifacts'],
      tracked,
      onLoss: (why) => {
        throw new Error(why);
      },
    });
  };

  beforeEach(() => {
    workspaceRoot = mkdtempSync(join(tmpdir(), 'nx-ec2-events-'));
    write(
      'model/train.py',
      'model/src/deep/a.py',
      'model/artifacts/model.bin',
      'libs/a/a.py',
      'libs/b/b.py',
      'uv.lock',
    );
  });
  afterEach(() => {
    events.close();
    rmSync(workspaceRoot, { recursive: true });
  });

  it('report tracked files in an ignored directory, and nothing else there', async () => {
    write('model/artifacts/nets/net.py', 'model/artifacts/runs/1/log');
    open(['model'], ['model/artifacts/nets/net.py']);
    write('model/artifacts/model.bin', 'model/artifacts/nets/weights.bin', 'model/artifacts/runs/1/log');
    write('model/artifacts/nets/net.py', 'model/train.py');
    const expected = ['model/artifacts/nets/net.py', 'model/train.py'];
    expect(await until(...expected)).toEqual(expected);
  });

  it('report files that are written, removed and renamed, at the root and at any depth', async () => {
    open();
    write('model/src/deep/a.py');
    expect(await until('model/src/deep/a.py')).toEqual(['model/src/deep/a.py']);
    write('uv.lock', 'libs/a/new.py');
    expect(await until('uv.lock', 'libs/a/new.py')).toEqual(['libs/a/new.py', 'uv.lock']);
    rmSync(join(workspaceRoot, 'uv.lock'));
    await until('uv.lock');
    renameSync(join(workspaceRoot, 'model/train.py'), join(workspaceRoot, 'model/other.py'));
    await until('model/train.py', 'model/other.py');
  });

  it('report files in a directory that takes the place of another, or is moved', async () => {
    open();
    const src = join(workspaceRoot, 'model/src');
    rmSync(src, { recursive: true });
    write('model/src/deep/a.py');
    expect(await until('never')).toBeNull();
    write('model/src/deep/a.py');
    await until('model/src/deep/a.py');
    renameSync(src, join(workspaceRoot, 'model/moved'));
    expect(await until('never')).toBeNull();
    write('model/moved/deep/a.py');
    expect(await until('model/moved/deep/a.py')).toEqual(['model/moved/deep/a.py']);
  });

  it('report each write, however directories come, go and move', async () => {
    const directory = fc
      .array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 3 })
      .map((parts) => parts.join('/'));
    const change = fc.record({ kind: fc.constantFrom('make', 'remove', 'move'), from: directory, to: directory });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 20 }), directory, async (changes, written) => {
        const root = mkdtempSync(join(tmpdir(), 'nx-ec2-events-'));
        events = new FileEvents({ workspaceRoot: root, places: ['.'], except: [], onLoss: () => undefined });
        for (const { kind, from, to } of changes) {
          if (kind === 'make') mkdirSync(join(root, from), { recursive: true });
          else if (kind === 'remove') rmSync(join(root, from), { recursive: true, force: true });
          else if (existsSync(join(root, from)) && !existsSync(join(root, to)) && !`${to}/`.startsWith(`${from}/`)) {
            mkdirSync(dirname(join(root, to)), { recursive: true });
            renameSync(join(root, from), join(root, to));
          }
          // Events are delivered by turns of the event loop, so some come between two changes and some do not.
          if (changes.length % 2) await setImmediate();
        }
        mkdirSync(join(root, written), { recursive: true });
        writeFileSync(join(root, written, 'first.py'), '');
        // Until nothing comes any more: all of the above is known.
        while (await events.next(100));
        writeFileSync(join(root, written, 'second.py'), '');
        const batch = await events.next(60_000);
        expect(batch?.paths && [...batch.paths]).toContain(`${written}/second.py`);
        events.close();
        rmSync(root, { recursive: true });
      }),
      { numRuns: 30, endOnFailure: true },
    );
  });

  it('report files in a new directory, however soon they are written', async () => {
    open();
    for (let round = 0; round < 5; round++) {
      write(`model/new${round}/below/a.py`);
      expect(await until('never')).toBeNull();
    }
    write('model/new0/below/a.py');
    await until('model/new0/below/a.py');
  });

  it('leave out other projects, packages and outputs', async () => {
    open();
    write(
      'libs/b/b.py',
      'model/node_modules/p/x',
      'model/__pycache__/x.pyc',
      'model/artifacts/x',
      'model/.venv/x',
      'dist/x',
    );
    write('model/train.py');
    const seen = await until('model/train.py');
    expect(seen?.filter((path) => path !== 'model/train.py' && path !== 'dist')).toEqual([]);
  });

  it('include a place that is created later, and one in a hidden directory that is named', async () => {
    open(['model', 'data/raw', 'model/.venv/kept']);
    write('data/raw/a.csv');
    expect(await until('never')).toBeNull();
    write('data/raw/a.csv');
    await until('data/raw/a.csv');
    write('model/.venv/kept/x');
    expect(await until('never')).toBeNull();
  });

  it('come in bursts, and only if something happens', async () => {
    open();
    expect(await events.next(50)).toBeNull();
    const files = Array.from({ length: 200 }, (_, number) => `model/src/${number}.py`);
    write(...files);
    expect(await until(...files)).toHaveLength(200);
    expect((await events.next(100))?.paths?.size ?? 0).toBe(0);
  });

  it('wait for git until a switch of branches is complete', async () => {
    open();
    mkdirSync(join(workspaceRoot, '.git'));
    writeFileSync(join(workspaceRoot, '.git/index.lock'), '');
    write(...Array.from({ length: 100 }, (_, number) => `model/src/${number}.py`));
    let over = false;
    const next = events.next(60_000).then((batch) => ({ batch, over }));
    await new Promise((resolve) => setTimeout(resolve, 200));
    over = true;
    rmSync(join(workspaceRoot, '.git/index.lock'));
    const got = await next;
    expect([got.over, got.batch?.paths?.size]).toEqual([true, 100]);
  });

  it('end when their AbortSignal is aborted', async () => {
    open();
    const controller = new AbortController();
    const next = events.next(10_000, controller.signal);
    controller.abort(new Error('over'));
    await expect(next).rejects.toThrow('over');
  });
});
