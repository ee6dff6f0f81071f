import { dirname } from 'node:path';
import { interopPython, program } from './programs';
import { Worlds, type World } from '../worlds';
import { until } from '../../src/system/until.fixture';

/** Programs as they are installed, started by `nx` on an instance that has them on its PATH. */
describe('the servers of the targets', () => {
  const worlds = new Worlds('tools');
  const path = process.env.PATH;
  let world: World;
  let instance: string;
  beforeAll(async () => {
    worlds.install();
    if (interopPython()) process.env.PATH = `${dirname(interopPython()!)}:${path}`;
    world = await worlds.make();
    instance = world.launch();
    world.nx.project('page', 'print(1)', { instance });
    await world.nx.run(['page:remote-sync']).ends(0);
  });
  afterAll(async () => {
    process.env.PATH = path;
    await worlds.close();
  });

  const open = async (target: string, name: string) => {
    const running = world.nx.run([`page:${target}`]);
    const address = new RegExp(`${name}: (http://127\\.0\\.0\\.1:\\d+/\\S*)`);
    await running.said(address);
    return { running, url: new URL(address.exec(running.text)![1]) };
  };
  const status = async (url: URL) => (await fetch(url)).status;
  const isGone = (url: URL) =>
    status(url).then(
      () => false,
      () => true,
    );

  const tensorboard = program('tensorboard');
  (tensorboard ? it : it.skip)(`show TensorBoard${tensorboard ? '' : ' (skipped: it is not here)'}`, async () => {
    const { running, url } = await open('remote-tensorboard', 'TensorBoard');
    expect(await (await fetch(url)).text()).toContain('<title>TensorBoard</title>');
    running.kill('SIGINT');
    await running.ended;
    await until(() => isGone(url));
  });

  const jupyter = program('jupyter-server');
  (jupyter ? it : it.skip)(
    `let in whoever has Jupyter's token, and nobody else${jupyter ? '' : ' (skipped: it is not here)'}`,
    async () => {
      const [first, second] = await Promise.all([open('remote-jupyter', 'Jupyter'), open('remote-jupyter', 'Jupyter')]);
      const contents = ({ url }: typeof first, token: string | null) => {
        const asked = new URL('/api/contents', url);
        if (token) asked.searchParams.set('token', token);
        return status(asked);
      };
      const own = first.url.searchParams.get('token');
      expect(await contents(first, own)).toBe(200);
      expect(await contents(first, null)).toBe(403);
      expect(await contents(second, own)).toBe(403);
      first.running.kill('SIGINT');
      await first.running.ended;
      await until(() => isGone(first.url));
      expect(await contents(second, second.url.searchParams.get('token'))).toBe(200);
      second.running.kill('SIGINT');
      await second.running.ended;
    },
  );
});
