import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { GetObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { Aws } from '../aws/clients';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { Store } from '../store/store';
import { onInstance } from './instance-python.fixture';

const OPEN = 'from nx_ec2_runtime.aws.bucket import open_bucket\nbucket = open_bucket(given)\n';

const sha256 = (data: string) => createHash('sha256').update(data).digest('base64');

describe('the store, accessed by the instance,', () => {
  let at: Fixture;
  let box: string;
  let store: Store;
  let aws: Aws;
  const environment = { ...process.env };

  beforeAll(async () => {
    at = await startFixture();
    box = at.aws.named.get('box')!.id;
    Object.assign(process.env, at.aws.environment);
    aws = new Aws({ region: 'eu-west-1' });
    store = new Store(aws, { bucket: 'bucket' });
  });
  afterEach(() => {
    const role = at.aws.role(box);
    Object.assign(role, { name: 'local-instance', lifetime: 6 * 3600 });
    role.deny.length = 0;
    role.expire();
    at.aws.faults.clear();
  });
  afterAll(async () => {
    aws.close();
    await at.close();
    process.env = environment;
  });

  const access = async (more: Record<string, unknown> = {}) => ({
    access: 'auto',
    bucket: 'bucket',
    region: 'eu-west-1',
    endpoint: at.aws.url,
    pathStyle: true,
    owner: null,
    kms: null,
    prefix: 'v2/projects/model/run/1/',
    post: await store.presignPost('v2/projects/model/run/1/'),
    expires: null,
    ...more,
  });
  const run = async <T>(program: string, more?: Record<string, unknown>, env?: Record<string, string>) =>
    onInstance<T>(at.aws, box, OPEN + program, await access(more), env);
  const content = async (name: string) =>
    (
      await at.s3.send(new GetObjectCommand({ Bucket: 'bucket', Key: `v2/projects/model/run/1/${name}` }))
    ).Body!.transformToString();
  const head = (name: string) =>
    at.s3.send(
      new HeadObjectCommand({ Bucket: 'bucket', Key: `v2/projects/model/run/1/${name}`, ChecksumMode: 'ENABLED' }),
    );

  it('is written, read and listed with the instance role', async () => {
    const answer = await run(`
bucket.put("a b/ü+&=~.json", b"{}", content_type="application/json")
bucket.put("a b/empty", b"")
answer = [bucket.way, bucket.list("a b/"), bucket.get("a b/ü+&=~.json").decode(), bucket.get("a b/empty").decode(), bucket.get("absent")]
`);
    expect(answer).toEqual([
      'role',
      [
        ['a b/empty', 0],
        ['a b/ü+&=~.json', 2],
      ],
      '{}',
      '',
      null,
    ]);
    expect(await head('a b/ü+&=~.json')).toMatchObject({
      ContentType: 'application/json',
      ChecksumSHA256: sha256('{}'),
    });
  });

  it('is read by ranges, also at the end of an object', async () => {
    expect(
      await run(`
bucket.put("ten", b"0123456789")
answer = [bucket.get("ten", span).decode() for span in ((2, 4), (8, None), (None, 3), (10, None))]
try:
    bucket.get("ten", limit=9)
except Failure as failure:
    answer.append(failure.code)
`),
    ).toEqual(['234', '89', '789', '', 'LIMIT']);
  });

  it('is listed in more than one page', async () => {
    for (let n = 0; n < 1001; n++)
      await at.s3.send(
        new PutObjectCommand({
          Bucket: 'bucket',
          Key: `v2/projects/model/run/1/many/${String(n).padStart(4, '0')}`,
          Body: 'x',
        }),
      );
    expect(await run('answer = [len(bucket.list("many/")), bucket.list("many/")[1000]]')).toEqual([
      1001,
      ['many/1000', 1],
    ]);
  });

  it('is written by a presigned form without a role that may write; S3 checks the SHA-256 in both ways', async () => {
    at.aws.role(box).name = null;
    const put =
      'bucket.put("by-form", given.get("data", "form").encode(), content_type="text/plain")\nanswer = bucket.way';
    expect(await run(put)).toBe('presigned');
    expect(await content('by-form')).toBe('form');
    expect(await head('by-form')).toMatchObject({
      ContentType: 'text/plain',
      ChecksumSHA256: sha256('form'),
    });
    at.aws.role(box).name = 'local-instance';
    at.aws.role(box).deny.push('s3:PutObject');
    expect(await run(put)).toBe('presigned');
    expect(await run('answer = bucket.get("by-form")')).toMatchObject({ failure: 'NO_ROLE' });
  });

  it("gives the reason that the role can't be used if there is no other way", async () => {
    at.aws.role(box).deny.push('s3:PutObject');
    expect(await run('', { access: 'role' })).toMatchObject({
      failure: 'ACCESS_DENIED',
      status: 403,
      aws: expect.stringMatching(/^AccessDenied: User: .*assumed-role\/local-instance\/i-.* s3:PutObject/),
    });
    expect(await run('', { post: null })).toMatchObject({ failure: 'ACCESS_DENIED' });
    at.aws.role(box).name = null;
    expect(await run('', { access: 'role' })).toMatchObject({ failure: 'NO_ROLE' });
    const nowhere = { AWS_EC2_METADATA_SERVICE_ENDPOINT: 'http://127.0.0.1:9' };
    expect(await run('', { access: 'role' }, nowhere)).toMatchObject({ failure: 'NO_ROLE' });
  });

  it('is accessed with the KMS key and the owner that a company’s bucket needs', async () => {
    await run('bucket.put("kms", b"x")', { kms: 'key-1', owner: '000000000000' });
    expect(await head('kms')).toMatchObject({ ServerSideEncryption: 'aws:kms', SSEKMSKeyId: 'key-1' });
    expect(await run('', { access: 'role', owner: '111111111111' })).toMatchObject({ failure: 'ACCESS_DENIED' });
  });

  it('is accessed with new credentials after the old ones have expired', async () => {
    at.aws.role(box).lifetime = 1;
    expect(
      await run(`
import time
from nx_ec2_runtime.aws.credentials import instance_role
first = instance_role().kept
while time.time() < first.expires + 1:
    time.sleep(0.05)
first.expires += 3600
bucket.put("later", b"x")
answer = [bucket.way, instance_role().kept is not first]
`),
    ).toEqual(['role', true]);
    expect(await content('later')).toBe('x');
  });

  it('is refused with the error that a presigned form has expired', async () => {
    const late = { access: 'presigned', post: await shortForm() };
    expect(
      await run(
        `
import time
time.sleep(1.1)
try:
    bucket.put("x", b"x")
except Failure as failure:
    first = failure.code
bucket.renew(dict(given, post=given["fresh"]))
bucket.put("renewed", b"y")
answer = first
`,
        { ...late, fresh: await store.presignPost('v2/projects/model/run/1/') },
      ),
    ).toBe('EXPIRED');
    expect(await content('renewed')).toBe('y');
  });

  async function shortForm() {
    const { createPresignedPost } = await import('@aws-sdk/s3-presigned-post');
    return createPresignedPost(at.s3, {
      Bucket: 'bucket',
      Key: 'v2/projects/model/run/1/${filename}',
      Fields: { 'x-amz-checksum-algorithm': 'SHA256' },
      Conditions: [
        ['starts-with', '$x-amz-checksum-sha256', ''],
        ['starts-with', '$Content-Type', ''],
      ],
      Expires: 1,
    });
  }

  it('is tried again after throttling, errors of the service and cut connections', async () => {
    for (const access of ['role', 'presigned']) {
      const method = access === 'role' ? 'PUT' : 'POST';
      at.aws.faults.add({ service: 's3', action: method, error: { code: 'SlowDown', status: 503 } });
      at.aws.faults.add({ service: 's3', action: method, cut: 'before' });
      expect(await run('bucket.put("patient", b"x")\nanswer = bucket.way', { access })).toBe(access);
    }
    at.aws.faults.add({ service: 's3', action: 'PUT', times: 9, error: { code: 'InternalError', status: 500 } });
    expect(await run('', { post: null })).toMatchObject({ failure: 'UPLOAD_FAILED', status: 500 });
  });

  it('is accessed with the time that S3 tells if the instance’s clock is wrong', async () => {
    const before = at.aws.requests.length;
    const program = `
import time
real = time.time
time.time = lambda: real() - 7200
from nx_ec2_runtime.aws.bucket import open_bucket
bucket = open_bucket(given)
bucket.put("late", b"x")
answer = bucket.way
`;
    // No other test has written a probe there.
    const late = await access({ access: 'role', prefix: 'v2/projects/model/run/late/' });
    expect(await onInstance(at.aws, box, program, late)).toBe('role');
    expect(at.aws.requests.slice(before).map(({ status }) => status)).toEqual([403, 200, 200]);
  });

  describe('through a proxy', () => {
    let proxy: Server;
    const passed: string[] = [];
    beforeAll(async () => {
      proxy = createServer(async (request, response) => {
        passed.push(`${request.method} ${request.headers['proxy-authorization']}`);
        const { request: ask } = await import('node:http');
        const onward = ask(request.url!, { method: request.method, headers: request.headers }, (answer) => {
          response.writeHead(answer.statusCode!, answer.headers);
          answer.pipe(response);
        });
        request.pipe(onward);
      });
      await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    });
    afterAll(() => new Promise((resolve) => proxy.close(resolve)));

    it('goes each request to S3, but none to the metadata service', async () => {
      const url = `http://user:word@127.0.0.1:${(proxy.address() as AddressInfo).port}`;
      expect(await run('answer = bucket.way', {}, { http_proxy: url })).toBe('role');
      expect(passed).toEqual([`PUT Basic ${Buffer.from('user:word').toString('base64')}`]);
    });
  });
});
