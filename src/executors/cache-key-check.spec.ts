import { reportKey } from '../workspace/key-log';
import { nxStartedAt } from '../workspace/invocation';
import { Workshop } from './workshop.fixture';

// Each starts a training or several.
jest.setTimeout(90_000);

describe('a result of other files than Nx has hashed', () => {
  let shop: Workshop;
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write(
      'model/train.py',
      'import os\nos.makedirs("artifacts", exist_ok=True)\nopen("artifacts/m", "w").write("1")\n',
    );
  });
  afterAll(() => shop.close());

  const options = { train: { script: 'train.py' }, cache: true };
  const report = (snapshot: string, at = Date.now()) =>
    reportKey(shop.workspace, 'model', { at, snapshot, versions: [] });
  interface Result {
    run: string;
    snapshot: string;
    attached: string | false;
  }
  const train = () => shop.run<Result>('remote-train', options);

  it('is delivered, is no success that Nx would cache, and is taken by the same command without another training', async () => {
    report('0'.repeat(64));
    await expect(train()).rejects.toThrow(/NOT_CACHED/);
    expect(shop.printed).toMatch(/model\/train\.py changed after Nx computed the cache key|Files changed, appeared/);
    expect(shop.printed).toContain('its artifacts are in model/artifacts/');
    const run = /The training (\S+) succeeded, and its artifacts/.exec(shop.printed)![1];
    // Nx computes the key anew.
    shop.forget();
    const { snapshot } = await shop.run<Result>('remote-sync');
    report(snapshot);
    expect(await train()).toMatchObject({ run, snapshot, attached: 'ended' });
    // It was delivered: started once more, it is another training.
    const again = await train();
    expect(again).toMatchObject({ attached: false });
    expect(again.run).not.toBe(run);
  });

  it('is cached where the files are those of the key, whatever earlier commands were told', async () => {
    shop.forget();
    const { snapshot } = await shop.run<Result>('remote-sync');
    report('0'.repeat(64), nxStartedAt() - 5_000);
    report(snapshot);
    expect(await train()).toMatchObject({ snapshot });
  });

  it('is no concern where the target is not cached, or its inputs are not ours', async () => {
    shop.forget();
    await train();
    report('0'.repeat(64));
    await shop.run('remote-train', { ...options, cache: false });
  });
});

describe('the start of the nx process', () => {
  it('is that of the parent process', () => {
    const started = nxStartedAt();
    expect(started).toBeLessThan(Date.now() - process.uptime() * 1000 + 1_000);
    expect(started).toBeGreaterThan(Date.now() - 24 * 3600_000);
  });
});
