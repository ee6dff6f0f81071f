import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Fixture } from '../local-aws/local-aws.fixture';
import type { SyncOptions } from '../sync/pipeline/types';
import { sleep } from '../system/sleep';
import { Pipeline, startPipeline } from './pipeline.fixture';

jest.setTimeout(120_000);

const AGAIN = /^The command that was sent first ended without effect; sending another one: /;

describe('a sync whose command is sent before its plan', () => {
  let at: Fixture;
  let pipe: Pipeline;
  let tree: string;
  beforeAll(async () => {
    at = await startPipeline({ history: true });
  });
  afterAll(() => at.close());
  beforeEach(async () => {
    pipe = await new Pipeline(at, 'store').open({}, 'remote-sync');
    pipe.write('model/train.py', 'print(1)\n');
    tree = (await pipe.sync({ commandFirst: true })).reply.tree;
    pipe.write('model/train.py', 'print(22)\n');
    at.aws.requests.length = 0;
    pipe.said.length = 0;
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    await at.aws.faults.clear?.();
    pipe.close();
  });

  const first = (more: Partial<SyncOptions> = {}, signal?: AbortSignal) =>
    pipe.sync({ commandFirst: true, ...more }, signal);
  const sent = () => at.aws.requests.filter(({ action }) => action === 'SendCommand').length;
  const content = () => readFileSync(join(tree, 'model/train.py'), 'utf8');
  const again = () => pipe.said.filter((text) => AGAIN.test(text));

  async function until(is: () => boolean | Promise<boolean>): Promise<void> {
    const last = performance.now() + 20_000;
    while (!(await is())) {
      if (performance.now() > last) throw new Error('it did not come to that');
      await sleep(20);
    }
  }

  /** Until no command runs any more, and nothing is left of them in the store. */
  const settled = () =>
    until(async () => at.aws.commands.every(({ ended }) => ended) && (await pipe.stored()).length === 0);

  /** A scan that begins when the command was sent. */
  const scanLater = async () => {
    const before = sent();
    await until(() => sent() > before);
    return pipe.syncOptions().scan();
  };

  /** Stores something else than the plan. */
  function replacePlan(replace: (sealed: Buffer) => Buffer): Buffer[] {
    const { store } = pipe.context;
    const put = store.put.bind(store);
    const seen: Buffer[] = [];
    jest.spyOn(store, 'put').mockImplementation((key, body, options) => {
      if (!key.includes('/plan/')) return put(key, body, options);
      seen.push(body);
      return put(key, replace(body), options);
    });
    return seen;
  }

  it('takes one command, which is sent before the scan, and leaves no plan in the store', async () => {
    const { reply, commands } = await first({ scan: scanLater });
    expect([commands, sent(), again()]).toEqual([1, 1, []]);
    expect(reply).toMatchObject({ written: 1, healed: false });
    expect(content()).toBe('print(22)\n');
    expect((await first()).reply.written).toBe(0);
    expect(sent()).toBe(2);
    await settled();
  });

  it('is not sent first where this machine does not remember the tree, or has another runtime', async () => {
    await pipe.forget();
    await first({
      scan: () => {
        expect(sent()).toBe(0);
        return pipe.syncOptions().scan();
      },
    });
    expect(sent()).toBe(1);
    jest.spyOn(pipe.context.remote, 'runtime', 'get').mockReturnValue('0'.repeat(64));
    const sendAhead = jest.spyOn(pipe.context.remote, 'sendAhead');
    await first();
    expect(sendAhead).not.toHaveBeenCalled();
  });

  it.each<[string, (sealed: Buffer) => Buffer]>([
    ['forged', () => randomBytes(300)],
    ['changed', (sealed) => Buffer.concat([sealed.subarray(0, -1), Buffer.from([sealed[sealed.length - 1] ^ 1])])],
    ['empty', () => Buffer.alloc(0)],
  ])('has no effect with a plan that is %s, and another command is sent', async (_, replace) => {
    let before = '';
    const { remote } = pipe.context;
    replacePlan(replace);
    const attempt = jest.spyOn(remote as unknown as { attempt: () => void }, 'attempt');
    attempt.mockImplementationOnce(async function (this: typeof remote, ...args: []) {
      before = content();
      attempt.mockRestore();
      return (this as unknown as { attempt: (...args: []) => unknown }).attempt(...args);
    } as never);
    const { commands, reply } = await first({ scan: scanLater });
    expect(before).toBe('print(1)\n');
    expect([commands, sent(), reply.written]).toEqual([1, 2, 1]);
    expect(again()).toEqual([expect.stringContaining('is not its plan')]);
    expect(content()).toBe('print(22)\n');
    await settled();
  });

  it('does not take the plan of an earlier command', async () => {
    const [earlier] = await (async () => {
      const seen = replacePlan((sealed) => sealed);
      await first({ scan: scanLater });
      return seen;
    })();
    jest.restoreAllMocks();
    pipe.write('model/train.py', 'print(333)\n');
    replacePlan(() => earlier);
    await first({ scan: scanLater });
    expect(again()).toEqual([expect.stringContaining('is not its plan')]);
    expect(content()).toBe('print(333)\n');
  });

  it('ends without effect if its plan is late, and another command is sent', async () => {
    at.aws.faults.add({ service: 's3', action: 'PUT', link: 'client', delay: 7_000 });
    await first({ scan: scanLater });
    expect(again()).toEqual([expect.stringContaining('no plan has followed the command within 5 s')]);
    expect([sent(), content()]).toEqual([2, 'print(22)\n']);
    await settled();
  });

  it('gets no plan from a client whose scan took long: another command is sent', async () => {
    const put = replacePlan((sealed) => sealed);
    await first({
      scan: async () => {
        await until(() => sent() === 1);
        await sleep(4_100);
        return pipe.syncOptions().scan();
      },
    });
    expect(again()).toEqual([expect.stringContaining('the plan took too long')]);
    expect([sent(), put, content()]).toEqual([2, [], 'print(22)\n']);
    await settled();
  });

  it('ends by itself, with nothing changed, if the scan fails or the client is interrupted or gone', async () => {
    const failed = new Error('a file can not be read');
    const fail = async () => {
      await until(() => sent() === 1);
      throw failed;
    };
    await expect(first({ scan: fail })).rejects.toBe(failed);
    const began = performance.now();
    await settled();
    expect(performance.now() - began).toBeLessThan(15_000);
    expect(content()).toBe('print(1)\n');
    const stop = new AbortController();
    const interrupted = first(
      {
        scan: async () => {
          await until(() => sent() === 2);
          stop.abort(new Error('Ctrl+C'));
          return pipe.syncOptions().scan();
        },
      },
      stop.signal,
    );
    await expect(interrupted).rejects.toThrow();
    await settled();
    expect(content()).toBe('print(1)\n');
    expect((await first()).reply.written).toBe(1);
  });

  it('is carried out if the client is gone after it has stored the plan', async () => {
    const stop = new AbortController();
    const { store } = pipe.context;
    const put = store.put.bind(store);
    jest.spyOn(store, 'deleteUnwaited').mockImplementation(async () => undefined);
    jest.spyOn(store, 'put').mockImplementation(async (key, ...rest) => {
      const done = await put(key, ...rest);
      if (key.includes('/plan/')) stop.abort(new Error('gone'));
      return done;
    });
    await expect(first({ scan: scanLater }, stop.signal)).rejects.toThrow();
    await until(() => content() === 'print(22)\n');
    jest.restoreAllMocks();
    // What a prune deletes.
    expect(await pipe.stored()).toEqual([expect.stringContaining('/plan/')]);
    expect((await first()).reply).toMatchObject({ written: 0 });
  });

  it.each([
    [
      'the plan can not be stored',
      { service: 's3', action: 'PUT', error: { code: 'AccessDenied', status: 403 }, times: 9 },
    ],
    ['it can not be sent', { action: 'SendCommand', error: { code: 'InvalidDocument', status: 400 }, times: 2 }],
    ['the plan was stored, and the answer lost', { service: 's3', action: 'PUT', cut: 'after' as const }],
  ])('does not keep a sync from working if %s', async (_, fault) => {
    at.aws.faults.add({ link: 'client', ...fault });
    const { reply } = await first({ scan: async () => (await sleep(200), pipe.syncOptions().scan()) });
    expect(reply.head).toMatch(/^[0-9a-f]{64}$/);
    expect(content()).toBe('print(22)\n');
  });

  it('works for two clients at once', async () => {
    const other = await new Pipeline(at, 'store', pipe.project).open({}, 'remote-sync');
    try {
      const both = await Promise.all([first(), first()]);
      expect(both.map(({ reply }) => reply.written).sort()).toEqual([0, 1]);
      expect(content()).toBe('print(22)\n');
      expect(existsSync(join(tree, 'model'))).toBe(true);
    } finally {
      other.close();
    }
  });
});
