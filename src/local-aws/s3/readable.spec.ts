import { createHash, randomBytes } from 'node:crypto';
import type { ChecksumMode } from '@aws-sdk/client-s3';
import { GetObjectCommand, HeadObjectCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { refusal, startFixture, type Fixture } from '../local-aws.fixture';
import { putUnreadable, UNREADABLE } from '../unreadable.fixture';

const Bucket = 'bucket';

describe('S3 and objects that it has and does not hand out', () => {
  let at: Fixture;
  beforeAll(async () => void (at = await startFixture({ instances: [] })));
  afterAll(() => at.close());

  const get = (Key: string) => refusal(at.s3.send(new GetObjectCommand({ Bucket, Key })));
  const head = (Key: string, more: { ChecksumMode?: ChecksumMode } = {}) =>
    refusal(at.s3.send(new HeadObjectCommand({ Bucket, Key, ...more })));

  it('refuses to read an object that is archived, or encrypted with a key that the caller does not have', async () => {
    for (const why of UNREADABLE) await putUnreadable(at, why, why);
    expect(await Promise.all(UNREADABLE.map(get))).toEqual([
      'InvalidObjectState 403',
      'InvalidRequest 400',
      'AccessDenied 403',
      'KMS.DisabledException 400',
    ]);
    expect(await head('archived')).toBeNull();
    expect(await head('customer key')).toMatch(/ 400$/);
    expect(await head('foreign key')).toBeNull();
    expect(await head('foreign key', { ChecksumMode: 'ENABLED' })).toMatch(/ 403$/);
    const { Contents } = await at.s3.send(new ListObjectsV2Command({ Bucket }));
    expect(Contents!.map(({ Key, StorageClass }) => [Key, StorageClass])).toEqual([
      ['archived', 'GLACIER'],
      ['customer key', 'STANDARD'],
      ['disabled key', 'STANDARD'],
      ['foreign key', 'STANDARD'],
    ]);
  });

  it('returns an object that is encrypted with a key of the caller to whoever brings the key', async () => {
    const key = randomBytes(32);
    const own = {
      SSECustomerAlgorithm: 'AES256',
      SSECustomerKey: key.toString('base64'),
      SSECustomerKeyMD5: createHash('md5').update(key).digest('base64'),
    };
    await at.s3.send(new PutObjectCommand({ Bucket, Key: 'own', Body: 'content', ...own }));
    expect(await get('own')).toBe('InvalidRequest 400');
    const { Body } = await at.s3.send(new GetObjectCommand({ Bucket, Key: 'own', ...own }));
    expect(await Body!.transformToString()).toBe('content');
  });

  it('replaces an object that nobody can read if its ETag is known', async () => {
    await putUnreadable(at, 'replaced', 'customer key');
    const { Contents } = await at.s3.send(new ListObjectsV2Command({ Bucket, Prefix: 'replaced' }));
    const put = (IfMatch: string) => at.s3.send(new PutObjectCommand({ Bucket, Key: 'replaced', Body: 'x', IfMatch }));
    expect(await refusal(put('"other"'))).toBe('PreconditionFailed 412');
    await put(Contents![0].ETag!);
    expect(await get('replaced')).toBeNull();
  });
});
