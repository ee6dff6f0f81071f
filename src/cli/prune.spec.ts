import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Printer } from '../report/printer';
import { StoreFixture } from '../store/store.fixture';
import { prune, type PruneOptions } from './prune';

describe('nx-ec2 store prune', () => {
  let at: StoreFixture;
  beforeAll(async () => {
    at = await StoreFixture.start();
    const pack = await at.pack();
    await at.ref([await at.manifest([pack])]);
    await at.ref([], 'old/i-2');
    await at.index([await at.pack()]);
    await at.run('20260101-000000-model-aaaaaa', { v: 1, state: 'ended', snapshot: '', checkpoints: [] });
    at.age(100);
    await at.run('20260301-000000-model-aaaaaa', { v: 1, state: 'ended', snapshot: '', checkpoints: [] });
    await at.ref([await at.manifest([pack])]);
  });
  afterAll(() => at.close());

  const run = async (options: Partial<PruneOptions>) => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const printed = Promise.all([text(stdout), text(stderr)]);
    const printer = new Printer({
      json: options.json,
      stdout: stdout as unknown as NodeJS.WriteStream,
      stderr: stderr as unknown as NodeJS.WriteStream,
    });
    const defaults = {
      olderThan: '14d',
      refsOlderThan: '90d',
      keepSnapshots: '0',
      bucket: 'bucket',
      prefix: 'team',
      runsOlderThan: '90d',
      keepRuns: '0',
    };
    const error = await prune({ ...defaults, ...options }, printer).then(
      () => null,
      (reason: unknown) => reason,
    );
    stdout.end();
    stderr.end();
    const [out, err] = await printed;
    return { out, err, error };
  };

  it('shows what would be deleted and what is stale, and that nothing was changed', async () => {
    const before = await at.store.list('', 10_000);
    const { out, error } = await run({});
    expect(error).toBeNull();
    expect(out).toMatch(/reachable +pending deletion +to be removed\n/);
    expect(out).toMatch(/packs +1 \(\S+ B\) +1 \(\S+ B\) +-\n/);
    expect(out).toMatch(/1 ref .* not written for 90d. They are stale.*\n {2}projects\/model\/ref\/old\/i-2\n/);
    expect(out).toMatch(/1 run \(\d+ B\) kept; to be removed: 1 run.* \(\d+ B\)\.\n/);
    expect(out).toMatch(/Nothing was changed\. To mark and remove objects: --apply/);
    expect(await at.store.list('', 10_000)).toEqual(before);
  });

  it('prints one machine-readable line, also for a failure', async () => {
    const { out } = await run({ json: true });
    expect(JSON.parse(out)).toMatchObject({
      success: true,
      applied: false,
      kinds: { pack: { kept: { count: 1 }, pending: { count: 1 }, removed: { count: 0 } } },
    });
    const failed = await run({ json: true, olderThan: '1d' });
    expect(JSON.parse(failed.out)).toMatchObject({ success: false, error: { code: 'PRUNE_OPTION' } });
  });

  it('says that the store is empty', async () => {
    expect((await run({ prefix: 'elsewhere' })).out).toBe('s3://bucket/elsewhere holds no store, or an empty one.\n');
  });

  it.each<[Partial<PruneOptions>, string, RegExp]>([
    [{ olderThan: '6d' }, 'PRUNE_OPTION', /--older-than=6d is less than 7d/],
    [{ olderThan: '14' }, 'PRUNE_OPTION', /--older-than: 14 must be a duration/],
    [{ refsOlderThan: '8d' }, 'PRUNE_OPTION', /--refs-older-than=8d is less than/],
    [{ runsOlderThan: '8d' }, 'PRUNE_OPTION', /--runs-older-than=8d is less than/],
    [{ keepRuns: 'all' }, 'PRUNE_OPTION', /--keep-runs takes a whole number/],
    [{ keepSnapshots: '-1' }, 'PRUNE_OPTION', /--keep-snapshots takes a whole number/],
    [{ keepSnapshots: '1.5' }, 'PRUNE_OPTION', /--keep-snapshots takes a whole number/],
    [{ bucket: 'B' }, 'CONFIG_INVALID', /--bucket: must be the name of an S3 bucket/],
    [{ bucket: undefined }, 'CONFIG_MISSING', /No bucket is configured/],
    [{ bucket: 'nowhere' }, 'STORE_LIST', /NoSuchBucket/],
  ])('refuses %j: %s', async (options, code, message) => {
    const { error } = await run(options);
    expect(error).toMatchObject({ name: 'Problem', code, message: expect.stringMatching(message) });
  });
});
