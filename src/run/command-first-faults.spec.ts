import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ownCertificate, startTls } from '../aws/tls.fixture';
import type { Fixture } from '../local-aws/local-aws.fixture';
import type { SyncOptions } from '../sync/pipeline/types';
import { until } from '../system/until.fixture';
import { Pipeline, startPipeline } from './pipeline.fixture';

jest.setTimeout(120_000);

const AGAIN = /^The command that was sent first ended without effect; sending another one: /;

describe('a sync whose command is sent before its plan, with what can be wrong', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => {
    at = await startPipeline({ instances: ['box', 'second'], hosts: ['localhost'], history: true });
  });
  afterAll(() => at.close());
  beforeEach(async () => {
    pipe = new Pipeline(at, 'store');
    pipe.write('model/train.py', 'print(1)\n');
  });
  afterEach(() => {
    jest.restoreAllMocks();
    at.aws.faults.clear();
    pipe.close();
  });

  const sent = () => at.aws.requests.filter(({ action }) => action === 'SendCommand').length;
  const again = () => pipe.said.filter((text) => AGAIN.test(text));
  const content = (tree: string) => readFileSync(join(tree, 'model/train.py'), 'utf8');
  const first = (more: Partial<SyncOptions> = {}, signal?: AbortSignal) =>
    pipe.sync({ commandFirst: true, ...more }, signal);

  /** Syncs once, and edits the file. @returns the tree. */
  async function warm(): Promise<string> {
    const { reply } = await pipe.sync();
    edit(2);
    return reply.tree;
  }

  /** From now on, requests and what is said are counted anew. */
  function edit(number: number): void {
    pipe.write('model/train.py', `print(${String(number).repeat(number)})\n`);
    at.aws.requests.length = 0;
    pipe.said.length = 0;
  }

  /** A scan that ends only after the command was sent. */
  const scanLater = async () => {
    await until(() => sent() > 0);
    return pipe.syncOptions().scan();
  };

  const settled = () =>
    until(async () => at.aws.commands.every(({ ended }) => ended) && (await pipe.stored()).length === 0);

  it('is sent with its plan if this is known before the connection is open', async () => {
    await pipe.open({}, 'remote-sync');
    const tree = await warm();
    const connected = jest.spyOn(pipe.context.aws, 'connected').mockReturnValue(new Promise(() => undefined));
    await first();
    expect(connected).toHaveBeenCalled();
    expect([sent(), again(), content(tree)]).toEqual([1, [], 'print(22)\n']);
    expect(at.aws.requests.filter(({ path }) => path.includes('/plan/'))).toEqual([]);
  });

  it.each<[string, (options: Record<string, unknown>) => Promise<unknown>]>([
    ['by its name', (options) => pipe.open({ ...options, instance: { name: 'box' } }, 'remote-sync')],
    ['by its launch spec', (options) => pipe.openSpot(options)],
  ])('is sent first to an instance that is found %s, if the files take longer', async (_, open) => {
    await open({});
    const tree = await warm();
    const { commands } = await first({ scan: scanLater });
    expect([commands, sent(), again(), content(tree)]).toEqual([1, 1, [], 'print(22)\n']);
    await settled();
  });

  it('is sent once to an instance that takes its plan, while another gets a second command', async () => {
    const both = ['box', 'second'].map((name) => ({ id: at.aws.named.get(name)!.id }));
    await pipe.open({ instance: both }, 'remote-sync');
    const tree = await warm();
    const [box, second] = both.map(({ id }) => id);
    rmSync(join(at.aws.instances.disk(second), 'root/runtime'), { recursive: true });
    const { replies, failures } = await first({ scan: scanLater });
    expect([[...replies.keys()].sort(), failures.size]).toEqual([[box, second].sort(), 0]);
    expect([sent(), again().length]).toEqual([2, 1]);
    expect(at.aws.commands.slice(-2).map(({ instance }) => instance)).toContain(second);
    expect(content(tree)).toBe('print(22)\n');
    expect(content(tree.replace(box, second))).toBe('print(22)\n');
    await settled();
  });

  it('is not sent first again for a while to an instance that can not read the store', async () => {
    await pipe.open({}, 'remote-sync');
    const tree = await warm();
    at.aws.faults.add({
      service: 's3',
      action: 'GET',
      link: 'instance',
      error: { code: 'AccessDenied', status: 403 },
      times: 10_000,
    });
    await first({ scan: scanLater });
    expect([sent(), again(), content(tree)]).toEqual([
      2,
      [expect.stringContaining('no plan has followed the command within 5 s')],
      'print(22)\n',
    ]);
    await settled();
    edit(3);
    await first();
    expect([sent(), again(), content(tree)]).toEqual([1, [], 'print(333)\n']);
    expect(at.aws.requests.filter(({ path }) => path.includes('/plan/'))).toEqual([]);
  });

  it('leaves no plan, and a tree that is whole, where it is interrupted while the plan is stored', async () => {
    await pipe.open({}, 'remote-sync');
    const tree = await warm();
    const stop = new AbortController();
    const { store } = pipe.context;
    const put = store.put.bind(store);
    jest.spyOn(store, 'put').mockImplementation((key, ...rest) => {
      if (key.includes('/plan/')) stop.abort(new Error('Ctrl+C'));
      return put(key, ...rest);
    });
    await expect(first({ scan: scanLater }, stop.signal)).rejects.toThrow();
    await settled();
    expect(['print(1)\n', 'print(22)\n']).toContain(content(tree));
    jest.restoreAllMocks();
    await first();
    expect(content(tree)).toBe('print(22)\n');
  });

  it('ends by itself, with nothing changed or stored, if the client is killed before it has stored the plan', async () => {
    await pipe.open({}, 'remote-sync');
    const tree = await warm();
    void first({ scan: () => new Promise(() => undefined) });
    await until(() => sent() === 1);
    const began = performance.now();
    await settled();
    expect(performance.now() - began).toBeLessThan(15_000);
    expect(content(tree)).toBe('print(1)\n');
  });

  describe('over TLS', () => {
    const certificate = ownCertificate('localhost');
    const before = { ...process.env };
    let tls: Awaited<ReturnType<typeof startTls>>;
    beforeEach(async () => {
      tls = await startTls(certificate, at.aws.port);
      const file = join(pipe.workspace, '../', `nx-ec2-${process.pid}.pem`);
      writeFileSync(file, certificate.cert);
      Object.assign(process.env, { AWS_ENDPOINT_URL: `https://localhost:${tls.port}`, AWS_CA_BUNDLE: file });
      await pipe.open({}, 'remote-sync');
    });
    afterEach(async () => {
      rmSync(process.env.AWS_CA_BUNDLE!);
      for (const name of ['AWS_ENDPOINT_URL', 'AWS_CA_BUNDLE']) {
        if (before[name] === undefined) delete process.env[name];
        else process.env[name] = before[name];
      }
      rmSync(python(), { force: true });
      await tls.close();
    });

    const python = () => join(at.aws.instances.disk(at.aws.named.get('box')!.id), 'bin/python3');

    /** The instance's system has this authority. */
    function trust(file: string): void {
      const real = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
      mkdirSync(join(python(), '..'), { recursive: true });
      writeFileSync(python(), `#!/bin/sh\nSSL_CERT_FILE='${file}' exec '${real}' "$@"\n`, { mode: 0o755 });
    }

    it('is carried out where the instance knows the authority', async () => {
      trust(process.env.AWS_CA_BUNDLE!);
      const tree = await warm();
      const { commands } = await first({ scan: scanLater });
      expect([commands, sent(), again(), content(tree)]).toEqual([1, 1, [], 'print(22)\n']);
      await settled();
    });

    it('ends without effect where it does not: what it reads could be anybody’s', async () => {
      trust(process.env.AWS_CA_BUNDLE!);
      const tree = await warm();
      trust('/dev/null');
      await first({ scan: scanLater });
      expect([sent(), again(), content(tree)]).toEqual([
        2,
        [expect.stringContaining('no plan has followed the command within 5 s')],
        'print(22)\n',
      ]);
      await settled();
    });
  });
});
