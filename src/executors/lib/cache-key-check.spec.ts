import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { reportKey } from '../../workspace/key-log';
import { settingsDigest } from '../../config/targets/result-settings';
import { nxStartedAt } from '../../workspace/invocation';
import { Workshop } from './executor-harness.fixture';

// Each starts a training or several.
describe('a result of files that differ from those that Nx has hashed', () => {
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
  const settings = settingsDigest({ train: {} });
  const report = (snapshot: string, at = Date.now(), other = settings) =>
    reportKey(shop.workspace, 'model', { at, settings: other, snapshot, versions: [] });
  interface Result {
    run: string;
    snapshot: string;
    attached: string | false;
  }
  const train = () => shop.run<Result>('remote-train', options);

  it('is downloaded but reported as a failure so that Nx does not cache it; the same command then uses it', async () => {
    report('0'.repeat(64));
    await expect(train()).rejects.toThrow(/NOT_CACHED/);
    expect(shop.printed).toMatch(/model\/train\.py changed after Nx computed the cache key|Files changed, appeared/);
    expect(shop.printed).toContain('its artifacts are in model/artifacts/');
    const run = /The training (\S+) succeeded, and its artifacts/.exec(shop.printed)![1];
    // Nx computes the key again.
    shop.forget();
    const { snapshot } = await shop.run<Result>('remote-sync');
    report(snapshot);
    expect(await train()).toMatchObject({ run, snapshot, attached: 'ended' });
    // However often it was delivered.
    expect(await train()).toMatchObject({ run, attached: 'ended' });
  });

  it('is cached if the files are those of the key, whatever was reported to earlier commands', async () => {
    shop.forget();
    const { snapshot } = await shop.run<Result>('remote-sync');
    report('0'.repeat(64), nxStartedAt() - 5_000);
    report(snapshot);
    expect(await train()).toMatchObject({ snapshot });
  });

  it('is not cached if the configuration has changed meanwhile', async () => {
    shop.forget();
    const { snapshot } = await shop.run<Result>('remote-sync');
    report(snapshot, Date.now(), settingsDigest({ train: { args: '--epochs 2' } }));
    await expect(train()).rejects.toThrow(/NOT_CACHED/);
    expect(shop.printed).toContain('The configuration of the training changed after Nx computed the cache key');
  });

  it('is a success if the target is not cached, or has other inputs', async () => {
    shop.forget();
    await train();
    report('0'.repeat(64));
    await shop.run('remote-train', { ...options, cache: false });
  });
});

describe('a training that has succeeded', () => {
  let shop: Workshop;
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/train.py', 'open("artifacts/m", "w").write("1")\n');
  });
  afterAll(() => shop.close());

  it('has its results downloaded in another clone, even without its instance; --rerun trains again', async () => {
    const train = (more = {}) =>
      shop.run<{ run: string; attached: unknown }>('remote-train', { train: { script: 'train.py' }, ...more });
    const { run } = await train();
    // Another machine: it remembers nothing, and has no artifacts.
    const asAnotherClone = () => {
      shop.forget();
      rmSync(join(shop.workspace, 'model/artifacts'), { recursive: true });
    };
    const brought = () => readFileSync(join(shop.workspace, 'model/artifacts/m'), 'utf8');
    asAnotherClone();
    expect(await train()).toMatchObject({ run, attached: 'ended' });
    expect(shop.printed).toMatch(/This training has ended already: .*\(--rerun starts another\)/);
    expect(brought()).toBe('1');
    const { instances, named } = shop.at.aws;
    instances.change(named.get('box')!, 'terminated');
    asAnotherClone();
    expect(await train()).toMatchObject({ run, attached: 'ended' });
    expect(brought()).toBe('1');
    await expect(train({ rerun: true })).rejects.toThrow(/INSTANCE_GONE|terminated/);
    const other = { instance: { id: named.get('other')!.id } };
    expect(await train(other)).toMatchObject({ run, attached: 'ended' });
    expect(await train({ ...other, rerun: true })).toMatchObject({ attached: false });
  });
});

describe('the start of the nx process', () => {
  it('is that of the parent process', () => {
    const started = nxStartedAt();
    expect(started).toBeLessThan(Date.now() - process.uptime() * 1000 + 1_000);
    expect(started).toBeGreaterThan(Date.now() - 24 * 3600_000);
  });
});
