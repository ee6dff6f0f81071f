import { createServer } from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { Workshop } from '../executors/lib/executor-harness.fixture';
import { Printer } from '../report/printer';
import type * as Library from '../system/nx-library';
import { openUi } from '../ui/ui.fixture';
import type * as Ui from './ui';

jest.mock('../system/nx-library', () => ({
  nxLibrary: {
    ...jest.requireActual<typeof Library>('../system/nx-library').nxLibrary,
    projectGraph: () => ({
      readCachedProjectGraph: () => mockGraph,
      createProjectGraphAsync: async () => mockGraph,
    }),
  },
}));
const mockGraph = { nodes: { model: { name: 'model', data: { root: 'model' } } } };

describe('nx-ec2 ui', () => {
  let shop: Workshop;
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('nx.json', JSON.stringify({ plugins: [{ plugin: 'nx-ec2', options: { bucket: 'bucket' } }] }));
    shop.write('model/ec2.config.json', JSON.stringify({ instance: { id: shop.instance }, prefix: 'own' }));
    for (const file of ['index.html', 'page.js', 'page.css']) shop.write(`page/${file}`, file);
  });
  afterAll(() => shop.close());

  /** Starts it, asks it for something, and ends it. */
  const ui = async (options: Ui.UiOptions, work: (url: string) => Promise<unknown> = async () => undefined) => {
    // Loaded once Nx's workspace is this one.
    const verb = ((await import(`./${'ui'}`)) as typeof Ui).ui;
    const [stdout, stderr] = [new PassThrough(), new PassThrough()] as unknown as NodeJS.WriteStream[];
    const stop = new AbortController();
    let done: Promise<unknown> = Promise.resolve();
    const error = await verb({ open: false, ...options }, new Printer({ json: true, stdout, stderr }), {
      assets: join(shop.workspace, 'page'),
      signal: stop.signal,
      onReady: (url) => {
        done = work(url).finally(() => stop.abort());
      },
    }).then(
      () => null,
      (reason: Error) => reason,
    );
    await done;
    const read = (stream: NodeJS.WriteStream) => String((stream as unknown as PassThrough).read() ?? '');
    return { json: JSON.parse(read(stdout)), text: read(stderr), error };
  };

  it('serves the store that nx.json names, or that of a project, until it is stopped', async () => {
    for (const [options, store] of [
      [{}, 's3://bucket/'],
      [{ project: 'model' }, 's3://bucket/own'],
      [{ prefix: 'other' }, 's3://bucket/other'],
    ] as const) {
      let address = '';
      const { json, text, error } = await ui(options, async (url) => {
        address = url;
        const ask = await openUi(url);
        expect((await ask('/')).body.toString()).toBe('index.html');
        expect(JSON.parse((await ask('/api/overview')).body.toString())).toMatchObject({ store });
      });
      expect({ error, text }).toEqual({ error: null, text: expect.stringContaining(address) });
      expect(json).toEqual({ success: true, port: Number(new URL(address).port) });
      await expect(openUi(address)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    }
  });

  it('shows commands that act on the store that it shows', async () => {
    const { run } = await shop.run<{ run: string }>('remote-submit', {
      bucket: 'bucket',
      prefix: 'other',
      train: { command: ['true'], environment: 'none' },
    });
    await ui({ prefix: 'other' }, async (url) => {
      const ask = await openUi(url);
      const { commands } = JSON.parse((await ask(`/api/run?project=model&run=${run}`)).body.toString());
      expect(commands.map(([, command]: string[]) => command)).toEqual(
        expect.arrayContaining([
          `npx nx run model:remote-pull --prefix=other --run=${run}`,
          `npx nx-ec2 runs checkout ${run} --prefix=other`,
        ]),
      );
    });
  });

  it('says what is wrong before it serves anything', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    for (const [options, code] of [
      [{ port: String(port) }, 'PORT_UNAVAILABLE'],
      [{ port: '65536' }, 'OPTION_INVALID'],
      [{ port: 'x' }, 'OPTION_INVALID'],
      [{ project: 'none' }, 'NO_PROJECT'],
      [{ bucket: 'missing-bucket' }, 'BUCKET_MISSING'],
    ] as const)
      expect([options, (await ui(options)).json]).toMatchObject([options, { success: false, error: { code } }]);
    taken.close();
  });
});
