import { Aws } from '../aws/clients';
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
  const denied = (action: string) => ({
    ...{ service: 's3', action },
    error: { code: 'AccessDenied', status: 403 },
  });

  it('may be unknown to a caller who can list the prefix of the store alone', async () => {
    at.local.aws.faults.add(denied('HEAD'));
    await expect(new Store(aws, { bucket: 'bucket', prefix: 'team' }).bucketRegion()).resolves.toBeUndefined();
  });

  it('is refused where the prefix can not be listed either, and without a prefix', async () => {
    at.local.aws.faults.add(denied('HEAD'));
    at.local.aws.faults.add(denied('GET'));
    const below = new Store(aws, { bucket: 'bucket', prefix: 'team' });
    await expect(below.bucketRegion()).rejects.toMatchObject({ code: 'BUCKET_FORBIDDEN' });
    at.local.aws.faults.add(denied('HEAD'));
    const root = new Store(aws, { bucket: 'bucket' });
    await expect(root.bucketRegion()).rejects.toMatchObject({ code: 'BUCKET_FORBIDDEN' });
  });
});
