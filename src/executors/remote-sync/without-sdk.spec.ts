import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { watchLoads } from '../../aws/sdk-loads.fixture';
import { Remote } from '../../command/remote';
import { until } from '../../system/until.fixture';
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

  it('loads none of it either where its command is sent first, and leaves no plan in the store', async () => {
    const first = { sync: { commandFirst: true } };
    await shop.run('remote-sync', first);
    watch = watchLoads();
    const sendAhead = jest.spyOn(Remote.prototype, 'sendAhead');
    shop.write('model/train.py', 'print(3)\n');
    expect(await shop.run('remote-sync', first)).toMatchObject({ written: 1, commands: 1 });
    expect(await shop.run('remote-sync', first)).toMatchObject({ written: 0, commands: 1 });
    expect(sendAhead).toHaveBeenCalledTimes(2);
    expect(watch.loaded).toEqual([]);
    const plans = async () => {
      const { Contents = [] } = await shop.at.s3.send(new ListObjectsV2Command({ Bucket: 'bucket' }));
      return Contents.filter(({ Key }) => Key!.includes('/plan/'));
    };
    await until(async () => (await plans()).length === 0, { what: () => 'the plan is deleted' });
  });

  it('finds an instance by its name with no more than an XML parser', async () => {
    await shop.run('remote-sync', { instance: { name: 'box' } });
    watch = watchLoads();
    await shop.run('remote-sync', { instance: { name: 'box' } });
    expect(watch.loaded).toEqual(['xml']);
  });
});
