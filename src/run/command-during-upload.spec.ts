import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { sleep } from '../system/sleep';
import { Pipeline, startPipeline } from './pipeline.fixture';

jest.setTimeout(120_000);

describe('a first sync whose command is sent while the packs are uploaded', () => {
  let at: Fixture;
  let pipe: Pipeline;
  let root: string;
  let contents: Map<string, Buffer>;
  beforeAll(async () => {
    at = await startPipeline({ history: true });
  });
  afterAll(() => at.close());
  beforeEach(async () => {
    pipe = new Pipeline(at, 'store');
    root = `${pipe.workspace}-root`;
    await pipe.open({ remoteRoot: root }, 'remote-sync');
    contents = new Map([0, 1, 2].map((number) => [`model/data-${number}.bin`, randomBytes(600_000)]));
    for (const [path, content] of contents) pipe.write(path, content);
    at.aws.requests.length = 0;
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    await at.aws.faults.clear?.();
    pipe.close();
    rmSync(root, { recursive: true, force: true });
  });

  const first = () => pipe.sync({ commandFirst: true });
  const sent = () => at.aws.requests.filter(({ action }) => action === 'SendCommand').length;
  const why = () => pipe.said.filter((text) => text.startsWith('The command that was sent first'));

  function expectSynced(tree: string): void {
    for (const [path, content] of contents) expect(readFileSync(join(tree, path)).equals(content)).toBe(true);
  }

  async function settled(): Promise<void> {
    for (const last = performance.now() + 20_000; performance.now() < last; await sleep(20))
      if (at.aws.commands.every(({ ended }) => ended) && (await pipe.stored()).length === 0) return;
    expect(at.aws.commands.filter(({ ended }) => !ended)).toEqual([]);
    expect(await pipe.stored()).toEqual([]);
  }

  /** Changes each plan on its way to the store, or delays it. */
  function onPlan(change: () => Promise<void>): void {
    const { store } = pipe.context;
    const put = store.put.bind(store);
    jest.spyOn(store, 'put').mockImplementation(async (key, ...rest) => {
      if (key.includes('/plan/')) await change();
      return put(key, ...rest);
    });
  }

  it('takes one command, which the instance begins before the last pack is stored', async () => {
    at.aws.faults.add({ service: 's3', action: 'PUT', link: 'client', delay: 1_000, times: 9 });
    const { reply, commands } = await first();
    expect([commands, sent(), why()]).toEqual([1, 1, []]);
    expectSynced(reply.tree);
    const order = at.aws.requests.map(({ action, path }) => (action === 'SendCommand' ? action : String(path)));
    const plan = order.findIndex((path) => path.includes('/plan/'));
    expect(plan).toBeGreaterThan(order.indexOf('SendCommand'));
    expect((await first()).reply.written).toBe(0);
    await settled();
  });

  it('sends another command if the upload took longer than the instance waits', async () => {
    onPlan(() => sleep(6_000));
    const { reply } = await first();
    expect(why()).toEqual([expect.stringContaining('no plan has followed the command within 5 s')]);
    expect(sent()).toBe(2);
    expectSynced(reply.tree);
    await settled();
  });

  it('replaces a runtime in the store that is not what the command names', async () => {
    const put = pipe.context.store.put.bind(pipe.context.store);
    await pipe.context.remote.uploadRuntime();
    await put(pipe.context.keys.runtime(pipe.context.remote.runtime), Buffer.from('not the runtime'));
    const { reply } = await first();
    expectSynced(reply.tree);
    expect(existsSync(join(root, 'runtime', pipe.context.remote.runtime))).toBe(true);
    await settled();
  });

  it('changes nothing on the instance if the upload fails', async () => {
    await pipe.context.remote.uploadRuntime();
    at.aws.faults.add({
      service: 's3',
      action: 'PUT',
      link: 'client',
      error: { code: 'AccessDenied', status: 403 },
      times: 99,
    });
    await expect(first()).rejects.toThrow(/AccessDenied/);
    await settled();
    expect(sent()).toBe(1);
    expect(existsSync(root)).toBe(false);
  });
});
