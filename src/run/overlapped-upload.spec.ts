import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Operation } from '../command/plan';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { Problem } from '../report/problem';
import { sleep } from '../system/sleep';
import { Pipeline, startPipeline } from './pipeline.fixture';

jest.setTimeout(120_000);

/** So much is in each pack. */
const PACK_BYTES = 1_300_000;

describe('a sync whose command is sent while its last packs are uploaded', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => {
    at = await startPipeline();
  });
  afterAll(() => at.close());
  beforeEach(async () => {
    pipe = await new Pipeline(at, 'store').open({}, 'remote-sync');
    for (const name of ['a', 'b', 'c']) pipe.write(`model/${name}.bin`, randomBytes(PACK_BYTES));
  });
  afterEach(() => pipe.close());

  /**
   * Holds the uploads of packs until `then` settles, which learns when the first command was sent and has ended.
   * @param free the number of uploads, the first ones, that are not held.
   * @param wait how long the instance is to look for a pack, s.
   */
  function hold(
    free: number,
    then: (command: { sent: Promise<void>; ended: Promise<void> }) => Promise<void>,
    wait?: number,
  ): { sent: number; waits: number[] } {
    const { store, remote } = pipe.context;
    const seen = { sent: 0, waits: [] as number[] };
    let [tellSent, tellEnded] = [() => undefined as void, () => undefined as void];
    const gate = then({
      sent: new Promise((resolve) => (tellSent = resolve)),
      ended: new Promise((resolve) => (tellEnded = resolve)),
    });
    gate.catch(() => undefined);
    const put = store.putContentAddressed.bind(store);
    let puts = 0;
    jest.spyOn(store, 'putContentAddressed').mockImplementation(async (...args) => {
      if (puts++ >= free) await gate;
      return put(...args);
    });
    const send = remote.sendEach.bind(remote);
    jest.spyOn(remote, 'sendEach').mockImplementation(async (instances, operation, options) => {
      seen.sent++;
      const { packs } = (operation as Extract<Operation, { op: 'sync' }>).sync;
      seen.waits.push(...packs.map((pack) => pack.wait));
      if (wait !== undefined) for (const pack of packs) pack.wait &&= wait;
      const onSent = () => {
        tellSent();
        options.onSent?.();
      };
      return send<never>(instances, operation, { ...options, onSent }).finally(tellEnded);
    });
    return seen;
  }

  const tree = (name: string, directory: string) => readFileSync(join(directory, 'model', name));
  const isSynced = (directory: string) =>
    ['a.bin', 'b.bin', 'c.bin'].every((name) =>
      tree(name, directory).equals(readFileSync(join(pipe.workspace, 'model', name))),
    );

  it('takes one command, and publishes the head when the packs are there', async () => {
    const seen = hold(1, async ({ sent }) => {
      await sent;
      expect(await pipe.keys((key) => key.includes('/packs/'))).toHaveLength(1);
      expect(await pipe.keys((key) => key.includes(`/${encodeURIComponent(pipe.project)}/ref/`))).toEqual([]);
    });
    const { reply, commands, sent } = await pipe.sync();
    expect(commands).toBe(1);
    expect(seen).toEqual({ sent: 1, waits: expect.arrayContaining([0, 15]) });
    expect(sent.uploaded).toBeGreaterThan(3 * PACK_BYTES);
    expect(isSynced(reply.tree)).toBe(true);
    expect(await pipe.keys((key) => key.includes(`/${encodeURIComponent(pipe.project)}/ref/`))).toHaveLength(1);
    await pipe.forget();
    expect((await pipe.sync()).sent.uploaded).toBe(0);
  });

  it('sends the command again, after the upload, if that took longer than the instance waits', async () => {
    const seen = hold(1, ({ ended }) => ended, 0.2);
    const { reply, commands } = await pipe.sync();
    expect([commands, seen.sent]).toEqual([2, 2]);
    // The pack that is there first is not always the plan's first one.
    expect(seen.waits.slice(0, 2).sort((a, b) => a - b)).toEqual([0, 15]);
    expect(seen.waits.slice(2)).toEqual([0, 0]);
    expect(isSynced(reply.tree)).toBe(true);
    expect(pipe.said).toContain('The upload took longer than the instance waits for it; sending the command again.');
  });

  it('fails with the reason of an upload that fails, changes nothing, and does not keep the next sync from working', async () => {
    const first = await pipe.sync();
    pipe.write('model/a.bin', randomBytes(PACK_BYTES));
    const before = tree('a.bin', first.reply.tree);
    pipe.write('model/b.bin', randomBytes(PACK_BYTES));
    const denied = new Problem('STORE_PUT', 'The bucket refused it.', { next: 'Ask for access.' });
    hold(
      0,
      async ({ sent }) => {
        await sent;
        throw denied;
      },
      2,
    );
    await expect(pipe.sync()).rejects.toBe(denied);
    expect(tree('a.bin', first.reply.tree).equals(before)).toBe(true);
    jest.restoreAllMocks();
    const { reply } = await (await pipe.open({}, 'remote-sync')).sync();
    expect(isSynced(reply.tree)).toBe(true);
  });

  it('can be interrupted after the command was sent: the next sync continues', async () => {
    const stop = new AbortController();
    hold(
      1,
      async ({ sent }) => {
        await sent;
        stop.abort(new Error('Ctrl+C'));
        throw new Error('the process has ended');
      },
      2,
    );
    await expect(pipe.sync({}, stop.signal)).rejects.toThrow();
    jest.restoreAllMocks();
    const { reply } = await (await pipe.open({}, 'remote-sync')).sync();
    expect(isSynced(reply.tree)).toBe(true);
  });

  it('uploads everything first if the run must be in the store before its command', async () => {
    // Long enough for a command that does not wait for the upload to be sent.
    const seen = hold(1, () => sleep(500));
    await pipe.sync({ storeFirst: true });
    expect(new Set(seen.waits)).toEqual(new Set([0]));
  });
});
