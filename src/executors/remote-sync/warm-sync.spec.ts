import { sdk } from '../../aws/sdk';
import { Workshop } from '../lib/executor-harness.fixture';

describe('a warm sync', () => {
  let shop: Workshop;
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/train.py', 'print(1)\n');
  });
  afterAll(() => shop.close());
  let spies: jest.SpyInstance[] = [];
  const restore = () => spies.forEach((spy) => spy.mockRestore());
  afterEach(restore);

  const loading = () => {
    const loaded: string[] = [];
    spies = [];
    for (const name of Object.keys(sdk) as (keyof typeof sdk)[]) {
      const load = sdk[name];
      const spy = jest.spyOn(sdk, name).mockImplementation((() => {
        loaded.push(name);
        return load();
      }) as never);
      spies.push(spy);
    }
    return loaded;
  };

  it('loads no part of the SDK, whether a file was edited or nothing changed', async () => {
    const first = loading();
    await shop.run('remote-sync');
    expect(first).toContain('sts');
    restore();

    const unchanged = loading();
    expect(await shop.run('remote-sync')).toMatchObject({ written: 0, commands: 1 });
    expect(unchanged).toEqual([]);
    shop.write('model/train.py', 'print(2)\n');
    expect(await shop.run('remote-sync')).toMatchObject({ written: 1, commands: 1 });
    expect(unchanged).toEqual([]);
  });

  it('finds an instance by its name with no more than an XML parser', async () => {
    await shop.run('remote-sync', { instance: { name: 'box' } });
    const loaded = loading();
    await shop.run('remote-sync', { instance: { name: 'box' } });
    expect(loaded).toEqual(['xml']);
  });
});
