import { hash, randomBytes } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { push, uploadDuringScan } from '../project/sync-project';
import type { Scanned, Workspace } from '../project/scan-project';
import { Problem } from '../report/problem';
import { scan } from '../snapshot/scan';
import { ScannedContents } from '../snapshot/scanned-contents';
import { until } from '../system/until.fixture';
import { listed, Pipeline, startPipeline } from './pipeline.fixture';

jest.setTimeout(120_000);

/** Each fills a pack. */
const FILE_BYTES = 1_000_000;
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];

describe('an upload that begins while the workspace is scanned', () => {
  let at: Fixture;
  let pipe: Pipeline;
  let contents: ScannedContents;
  let stop: AbortController;
  beforeAll(async () => {
    at = await startPipeline();
  });
  afterAll(() => at.close());
  beforeEach(async () => {
    pipe = await new Pipeline(at, 'store').open({}, 'remote-sync');
    for (const name of NAMES) pipe.write(`model/${name}.bin`, randomBytes(FILE_BYTES));
    contents = new ScannedContents();
    stop = new AbortController();
  });
  afterEach(() => {
    jest.restoreAllMocks();
    at.aws.faults.clear();
    pipe.close();
  });

  const packs = async () => new Set(await pipe.keys((key) => key.includes('/packs/')));
  const read = (name: string) => readFileSync(join(pipe.workspace, 'model', `${name}.bin`));
  const hashes = (root: string) =>
    NAMES.map((name) => hash('sha256', readFileSync(join(root, 'model', `${name}.bin`)), 'hex'));
  /** What a scan does with a file that it has read. */
  const scanned = (...names: string[]) => {
    for (const name of names) contents.add(hash('sha256', read(name), 'hex'), read(name));
  };
  const early = () => uploadDuringScan(pipe.context, contents, stop.signal);
  const scanAll = async () => {
    const found = await scan({ workspaceRoot: pipe.workspace, paths: listed(pipe.workspace), contents });
    return { ...found, files: { leftOut: [] } } as unknown as Scanned;
  };
  const sync = async (upload: ReturnType<typeof early>, scanning: () => Promise<Scanned> = scanAll) => {
    const options = { signal: stop.signal, scan: scanning, early: upload };
    const done = await push(pipe.context, {} as Workspace, options);
    await done.settled;
    return done;
  };

  it('sends a pack as soon as it is full, and the sync names it and sends the rest', async () => {
    const before = await packs();
    const upload = early();
    scanned('a', 'b', 'c', 'd', 'e');
    await until(async () => (await packs()).size > before.size);
    const { reply, sent, commands } = await sync(upload);
    expect(commands).toBe(1);
    expect(hashes(reply.tree)).toEqual(hashes(pipe.workspace));
    expect(sent.saved).toBe(0);
    // Each content was sent once.
    expect(sent.uploaded).toBeGreaterThan(NAMES.length * FILE_BYTES);
    expect(sent.uploaded).toBeLessThan((NAMES.length + 0.5) * FILE_BYTES);
    await pipe.forget();
    expect((await pipe.sync()).sent.uploaded).toBe(0);
  });

  it('sends what was hashed, also of a file that has changed or is gone since, and does not read it again', async () => {
    const upload = early();
    const first = hashes(pipe.workspace);
    const { reply, commands } = await sync(upload, async () => {
      const found = await scanAll();
      pipe.write('model/a.bin', randomBytes(FILE_BYTES));
      rmSync(join(pipe.workspace, 'model/h.bin'));
      return found;
    });
    expect(commands).toBe(1);
    expect(hashes(reply.tree)).toEqual(first);
  });

  it('sends nothing that others have put into the store', async () => {
    const other = await new Pipeline(at, 'store').open({}, 'remote-sync');
    for (const name of NAMES) other.write(`${name}.bin`, read(name));
    await other.sync();
    other.close();
    await pipe.forget();
    const { sent } = await sync(early());
    expect(sent).toMatchObject({ uploaded: 0, saved: NAMES.length * FILE_BYTES });
  });

  it('is none where this machine knows what the instance holds', async () => {
    await pipe.sync();
    expect(early()).toBeUndefined();
    contents.add('a', Buffer.from('a'));
    expect(contents.take('a')).toBeUndefined();
  });

  it.each([
    ['packs are refused', { action: 'PUT', times: 4, error: { code: 'AccessDenied', status: 403 } }],
    ['indexes can not be listed', { action: 'GET', times: 4, error: { code: 'AccessDenied', status: 403 } }],
    ['a connection is cut off', { action: 'PUT', times: 2, cut: 'after' as const }],
  ])('leaves it to the sync to send everything if %s', async (_what, fault) => {
    const upload = early();
    at.aws.faults.add({ service: 's3', link: 'client', ...fault });
    scanned(...NAMES);
    await upload!.end();
    at.aws.faults.clear();
    const { reply } = await sync(early());
    expect(hashes(reply.tree)).toEqual(hashes(pipe.workspace));
  });

  it('is ended if the preflight fails, with the reason of the preflight', async () => {
    const upload = early();
    scanned(...NAMES);
    const offline = new Problem('SSM_OFFLINE', 'It is offline.', { next: 'Wait.' });
    const context = { ...pipe.context, preflight: () => Promise.reject(offline) };
    const options = { signal: stop.signal, scan: scanAll, early: upload };
    await expect(push(context, {} as Workspace, options)).rejects.toBe(offline);
    const after = await packs();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await packs()).toEqual(after);
  });

  it('is ended if the scan fails, with the reason of the scan', async () => {
    const upload = early();
    const changing = new Problem('FILE_CHANGING', 'It keeps changing.', { next: 'Wait.' });
    await expect(sync(upload, () => Promise.reject(changing))).rejects.toBe(changing);
    scanned('a');
    expect(contents.take('a')).toBeUndefined();
  });

  it('is ended by Ctrl+C, changes no tree, and the next sync continues', async () => {
    const put = pipe.context.store.putContentAddressed.bind(pipe.context.store);
    const commands = at.aws.commands.length;
    let [held, ended] = [0, 0];
    jest.spyOn(pipe.context.store, 'putContentAddressed').mockImplementation(async (...args) => {
      held++;
      try {
        const { signal } = args[3]!;
        const aborted = () => signal!.reason as Error;
        if (held > 1) await new Promise((_, reject) => signal!.addEventListener('abort', () => reject(aborted())));
        return await put(...args);
      } finally {
        ended++;
      }
    });
    const upload = early();
    const syncing = sync(upload, async () => {
      scanned(...NAMES);
      await until(() => held > 1 && ended === 1);
      stop.abort(new Error('Ctrl+C'));
      return scanAll();
    });
    await expect(syncing).rejects.toThrow();
    // None is still on its way.
    expect(ended).toBe(held);
    expect(at.aws.commands).toHaveLength(commands);
    jest.restoreAllMocks();
    stop = new AbortController();
    const { reply, sent } = await (await pipe.open({}, 'remote-sync')).sync();
    expect(hashes(reply.tree)).toEqual(hashes(pipe.workspace));
    expect(sent.uploaded).toBeLessThan(NAMES.length * FILE_BYTES);
  });
});
