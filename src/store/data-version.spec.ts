import { PutObjectCommand } from '@aws-sdk/client-s3';
import { Aws } from '../aws/clients';
import { onInstance } from '../command/instance-python.fixture';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { dataVersion } from './data-version';

describe('the version of data in S3', () => {
  let at: Fixture;
  let aws: Aws;
  const environment = { ...process.env };
  beforeAll(async () => {
    at = await startFixture();
    Object.assign(process.env, at.aws.environment);
    aws = new Aws({ region: 'eu-west-1' });
    for (const Key of ['data/b', 'data/ü x', 'data/😀', 'data/', 'data/\uffee', 'data/sub/', 'other'])
      await at.s3.send(
        new PutObjectCommand({ Bucket: 'bucket', Key, Body: Buffer.from(Key.endsWith('/') ? '' : Key) }),
      );
  });
  afterAll(async () => {
    aws.close();
    await at.close();
    process.env = environment;
  });
  const put = (Key: string, Body: string) =>
    at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body: Buffer.from(Body) }));

  it.each(['s3://bucket/data', 's3://bucket/data/', 's3://bucket', 's3://bucket/other'])(
    'of %s is the same here and on the instance',
    async (source) => {
      const there = await onInstance<string>(
        at.aws,
        at.aws.named.get('box')!.id,
        `
from nx_ec2_runtime.aws.http_pool import Connections
from nx_ec2_runtime.datasets.listing import list_source
answer = list_source(given["source"], region="eu-west-1", endpoint=given["endpoint"], connections=Connections()).version
`,
        { source, endpoint: at.aws.url },
      );
      expect(there).toBe(await dataVersion(aws, source));
      const elsewhere = new Aws({ region: 'us-west-2' });
      expect(await dataVersion(elsewhere, source)).toBe(there);
      elsewhere.close();
    },
  );

  it('differs where the paths of the same objects differ', async () => {
    await put('outer/inner/a.txt', 'a');
    const sources = ['s3://bucket/outer', 's3://bucket/outer/inner', 's3://bucket/outer/inner/a.txt'];
    const versions = await Promise.all(sources.map((source) => dataVersion(aws, source)));
    expect(new Set(versions).size).toBe(3);
    await put('outer/inner/empty/', '');
    expect(await dataVersion(aws, sources[1])).not.toBe(versions[1]);
  });

  it('is none of more objects than the limit', async () => {
    await expect(dataVersion(aws, 's3://bucket/data', 5)).rejects.toMatchObject({
      code: 'DATA',
      message: expect.stringMatching(/^The data s3:\/\/bucket\/data holds more than 5 objects\.\nPack them/),
    });
    await expect(dataVersion(aws, 's3://bucket/data', 6)).resolves.toMatch(/^[0-9a-f]{64}$/);
  });

  it('changes only with the data', async () => {
    const before = await dataVersion(aws, 's3://bucket/data');
    await put('other', 'changed');
    expect(await dataVersion(aws, 's3://bucket/data')).toBe(before);
    await put('data/b', 'changed');
    expect(await dataVersion(aws, 's3://bucket/data')).not.toBe(before);
  });

  it('is an error if there is no data, or if the caller may not list it', async () => {
    await expect(dataVersion(aws, 's3://bucket/absent')).rejects.toThrow('s3://bucket/absent');
    await expect(dataVersion(aws, 's3://no-such-bucket/x')).rejects.toMatchObject({ code: 'DATA' });
  });
});
