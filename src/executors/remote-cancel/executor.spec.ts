import { PutObjectCommand } from '@aws-sdk/client-s3';
import { putUnreadable } from '../../local-aws/unreadable.fixture';
import { Workshop } from '../lib/executor-harness.fixture';

// Node resolves the name of the built file.
jest.mock(
  '../training/start-on-launched-instance.js',
  () => jest.requireActual('../training/start-on-launched-instance'),
  {
    virtual: true,
  },
);

describe('remote-cancel', () => {
  let shop: Workshop;
  beforeAll(async () => {
    shop = await Workshop.open();
  });
  afterAll(() => shop.close());

  const forgeries: [string, (key: string, n: number) => Promise<unknown>][] = [
    [
      'keeps overwriting the run record',
      (Key, n) => shop.at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body: `{"v":3,"n":${n}}` })),
    ],
    ['keeps replacing the run record by one that S3 does not return', (key) => putUnreadable(shop.at, key, 'archived')],
  ];

  it.each(forgeries)('asks the configured instance if another program %s', async (_, write) => {
    const train = { command: ['sh', '-c', 'exec sleep 600'], environment: 'none' };
    const { run } = await shop.run<{ run: string }>('remote-submit', { train, rerun: true });
    const forge = (n: number) => write(`v2/projects/model/run/${run}/record.json`, n);
    await forge(0);
    let writes = true;
    const rewriting = (async () => {
      for (let n = 1; writes; n++) await forge(n);
    })();
    try {
      const unknown = shop.run('remote-cancel', { run: '20260101-000000-model-abcdef' });
      await expect(unknown).rejects.toThrow(/NO_RUN/);
      const cancelled = await shop.run('remote-cancel', { run });
      expect(cancelled).toMatchObject({ run, instance: shop.instance, outcome: 'cancelled', already: false });
      expect(await shop.run('remote-cancel', { run })).toMatchObject({ outcome: 'cancelled', already: true });
    } finally {
      writes = false;
      await rewriting;
    }
  });

  it('says how long an instance is kept that was launched for the run', async () => {
    const instance = { type: 'm5.large', instanceProfile: 'training' };
    const train = { command: ['sh', '-c', 'exec sleep 600'], environment: 'none' };
    const { run, instance: id } = await shop.run<{ run: string; instance: string }>('remote-submit', {
      train,
      instance,
    });
    await shop.run('remote-cancel', { run, instance });
    expect(shop.printed).toMatch(
      new RegExp(
        `${id} is kept for 30m 00s, until \\d\\d:\\d\\d, and then terminated\\. To terminate it now: nx run model:remote-down`,
      ),
    );
    await shop.run('remote-down', { instance });
  });
});
