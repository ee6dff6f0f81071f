import { Readable } from 'node:stream';
import { Aws } from '../aws/clients';
import type { Fault } from '../local-aws/link/faults';
import type { Problem } from '../report/problem';
import { dataVersion } from './data-version';
import { Store } from './store';
import { StoreFixture } from './store.fixture';

describe('the region of the bucket', () => {
  let at: StoreFixture;
  let aws: Aws;
  beforeAll(async () => {
    at = await StoreFixture.start();
    aws = new Aws({});
  });
  afterAll(async () => {
    aws.close();
    await at.close();
  });
  afterEach(() => at.local.aws.faults.clear());
  const denied = (action: string) => ({ service: 's3', action, error: { code: 'AccessDenied', status: 403 } });

  it('may be unknown to a caller who can only list the prefix of the store', async () => {
    // By itself, and by the SDK after that.
    at.local.aws.faults.add({ ...denied('HEAD'), times: 2 });
    await expect(new Store(aws, { bucket: 'bucket', prefix: 'team' }).bucketRegion()).resolves.toBeUndefined();
  });

  it('is an error if the prefix cannot be listed either, or if there is no prefix', async () => {
    at.local.aws.faults.add(denied('HEAD'));
    at.local.aws.faults.add(denied('GET'));
    const below = new Store(aws, { bucket: 'bucket', prefix: 'team' });
    await expect(below.bucketRegion()).rejects.toMatchObject({ code: 'BUCKET_FORBIDDEN' });
    at.local.aws.faults.add(denied('HEAD'));
    const root = new Store(aws, { bucket: 'bucket' });
    await expect(root.bucketRegion()).rejects.toMatchObject({ code: 'BUCKET_FORBIDDEN' });
  });
});

/** Whatever is asked of the bucket, the message names the cause and the remedy. */
describe('a bucket that refuses a request', () => {
  let at: StoreFixture;
  let aws: Aws;
  let store: Store;
  beforeAll(async () => {
    at = await StoreFixture.start();
    aws = new Aws({});
    store = new Store(aws, { bucket: 'bucket' });
  });
  afterAll(async () => {
    aws.close();
    await at.close();
  });
  afterEach(() => at.local.aws.faults.clear());

  const body = Buffer.from('body');
  const asked: [string, (store: Store) => Promise<unknown>][] = [
    ['put', (store) => store.put('key', body)],
    ['compareAndSwap', (store) => store.compareAndSwap('key', body, null)],
    ['upload', (store) => store.upload('key', Readable.from([body]))],
    ['get', (store) => store.get('key', 100)],
    ['a part', (store) => store.getFrom('key', 1, 2)],
    ['etag', (store) => store.etag('key')],
    ['list', (store) => store.list('', 10)],
    ['prefixes', (store) => store.listDirectories('', 10)],
    ['delete', (store) => store.delete(['key'])],
    ['delete several', (store) => store.delete(['key', 'other'])],
  ];
  const fails = async (ask: (store: Store) => Promise<unknown>, error: NonNullable<Fault['error']>) => {
    at.local.aws.faults.add({ service: 's3', times: 20, error });
    const problem = await ask(store).then(
      () => undefined,
      (thrown: Problem) => thrown,
    );
    at.local.aws.faults.clear();
    return problem!;
  };

  it.each(asked)('gives an error with its region if it is in another region: %s', async (_, ask) => {
    const headers = { 'x-amz-bucket-region': 'us-east-2' };
    const moved = { code: 'PermanentRedirect', message: 'The bucket must be addressed elsewhere.', status: 301 };
    expect((await fails(ask, { ...moved, headers })).next).toBe(
      'The bucket bucket is in us-east-2: set "region" to us-east-2.',
    );
    expect((await fails(ask, moved)).next).toMatch(/in another region: .*get-bucket-location --bucket bucket/);
  });

  // The answer to a HEAD has no code.
  it.each(asked.filter(([name]) => name !== 'etag'))(
    'gives an error with its region if the signature is for another one: %s',
    async (_, ask) => {
      const headers = { 'x-amz-bucket-region': 'us-east-2' };
      const malformed = { code: 'AuthorizationHeaderMalformed', message: 'the region is wrong', status: 400, headers };
      expect((await fails(ask, malformed)).next).toMatch(/set "region" to us-east-2/);
    },
  );

  it.each(asked)('gives an error that says that a redirect is temporary: %s', async (_, ask) => {
    const headers = { location: 'https://bucket.s3.us-east-2.amazonaws.com/key' };
    const redirect = { code: 'TemporaryRedirect', message: 'Please re-send this request.', status: 307, headers };
    expect((await fails(ask, redirect)).next).toMatch(/for some hours after a bucket was created.*try again/);
  });

  it.each(asked.filter(([name]) => /put|swap|upload|delete/.test(name)))(
    'gives an error that names Object Lock and no permission: %s',
    async (_, ask) => {
      const message = 'Access Denied because object protected by object lock.';
      const { next, aws: said } = await fails(ask, { code: 'AccessDenied', message, status: 403 });
      expect(next).toMatch(/^Object Lock protects the object until its retention ends/);
      expect(said!.denied).toBeUndefined();
    },
  );

  it('gives an error that names Object Lock if one of several objects cannot be deleted', async () => {
    const s3 = await aws.s3();
    const middleware = () => async () => ({
      response: {},
      output: {
        $metadata: { httpStatusCode: 200 },
        Errors: [{ Key: 'a', Code: 'AccessDenied', Message: 'Access Denied because object protected by object lock.' }],
      },
    });
    s3.middlewareStack.add(middleware as never, { step: 'initialize', priority: 'high', name: 'locked' });
    await expect(store.delete(['a', 'b'])).rejects.toMatchObject({ next: expect.stringMatching(/^Object Lock/) });
    s3.middlewareStack.remove('locked');
  });

  it('gives its region with a redirect', async () => {
    at.local.aws.faults.add({
      service: 's3',
      action: 'HEAD',
      error: { code: 'PermanentRedirect', status: 301, headers: { 'x-amz-bucket-region': 'us-east-2' } },
    });
    await expect(store.bucketRegion()).resolves.toBe('us-east-2');
  });

  it('gives an error that names requester-pays, as a store and as a dataset', async () => {
    const denied = { code: 'AccessDenied', message: 'Access Denied', status: 403 };
    expect((await fails(() => store.bucketRegion(), denied)).next).toMatch(/requester-pays/);
    expect((await fails(() => dataVersion(aws, 's3://bucket/set'), denied)).next).toMatch(/--request-payer requester/);
    const missing = { code: 'NoSuchBucket', message: 'no such bucket', status: 404 };
    expect((await fails(() => dataVersion(aws, 's3://bucket/set'), missing)).next).toBeUndefined();
  });
});
