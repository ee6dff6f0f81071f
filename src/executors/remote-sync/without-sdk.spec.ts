import { watchLoads } from '../../aws/sdk-loads.fixture';
import { Workshop } from '../lib/executor-harness.fixture';

describe('a sync', () => {
  let shop: Workshop;
  let watch: ReturnType<typeof watchLoads>;
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/train.py', 'print(1)\n');
  });
  afterAll(() => shop.close());
  afterEach(() => watch.restore());

  it('loads no part of the SDK, whether it is the first, a file was edited or nothing changed', async () => {
    watch = watchLoads();
    await shop.run('remote-sync');
    expect(await shop.run('remote-sync')).toMatchObject({ written: 0, commands: 1 });
    expect(watch.loaded).toEqual([]);
    shop.write('model/train.py', 'print(2)\n');
    expect(await shop.run('remote-sync')).toMatchObject({ written: 1, commands: 1 });
    expect(watch.loaded).toEqual([]);
  });

  it('finds an instance by its name with no more than an XML parser', async () => {
    await shop.run('remote-sync', { instance: { name: 'box' } });
    watch = watchLoads();
    await shop.run('remote-sync', { instance: { name: 'box' } });
    expect(watch.loaded).toEqual(['xml']);
  });
});
