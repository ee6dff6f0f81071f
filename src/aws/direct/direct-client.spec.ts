import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { CreateTagsCommand, DescribeInstancesCommand } from '@aws-sdk/client-ec2';
import { GetObjectCommand, HeadObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import fc from 'fast-check';
import { toInstanceInfo } from '../../instance/describe/describe-instances';
import { startFixture, type Fixture } from '../../local-aws/local-aws.fixture';
import { Aws } from '../clients';
import { watchLoads } from '../sdk-loads.fixture';
import { directEndpoint } from './endpoint';
import { isPlainKey } from './objects';

/** Object keys: any text that S3 takes for one. */
const key = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }),
      fc.constantFrom(' ', '+', '%', '%2F', "!'()*", '&', '=', '?', '#', 'é', '😀', ':', '@', '~', '..a'),
    ),
    { minLength: 1, maxLength: 5 },
  )
  .map((parts) => parts.join('/'))
  // The others are left to the SDK.
  .filter((text) => isPlainKey(text))
  .filter((text) => !/[\0-\x1f\x7f\ufffe\uffff\ud800-\udfff]/.test(text) && Buffer.byteLength(text) < 900);

describe('calls without the SDK', () => {
  let at: Fixture;
  let aws: Aws;
  const before = { ...process.env };
  let loaded: string[];
  beforeAll(async () => void (at = await startFixture()));
  afterAll(() => at.close());
  beforeEach(() => {
    for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name];
    Object.assign(process.env, at.aws.environment);
    aws = new Aws({});
    ({ loaded } = watchLoads());
  });
  afterEach(() => {
    jest.restoreAllMocks();
    aws.close();
    for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name];
    Object.assign(process.env, before);
  });

  const read = async (body: unknown) => Buffer.concat(await (body as Readable).toArray()).toString();
  const put = (Key: string, text: string, more: object = {}) =>
    aws.call('PutObject', { Bucket: 'bucket', Key, Body: Buffer.from(text), ...more });

  it('write, read and sign objects of any key as the SDK does', async () => {
    await fc.assert(
      fc.asyncProperty(key, fc.string(), async (Key, text) => {
        const { ETag } = await put(Key, text);
        const answer = await aws.call('GetObject', { Bucket: 'bucket', Key });
        expect(await read(answer.Body)).toBe(text);
        expect(answer).toMatchObject({ ETag, ContentLength: Buffer.byteLength(text) });
        const bySdk = await at.s3.send(new GetObjectCommand({ Bucket: 'bucket', Key }));
        expect(await bySdk.Body!.transformToString()).toBe(text);
        expect(answer.LastModified).toEqual(bySdk.LastModified);
        const url = await aws.presignGet('bucket', Key, 60);
        expect(await (await fetch(url!)).text()).toBe(text);
      }),
      { numRuns: 60 },
    );
    expect(loaded).toEqual([]);
  });

  it.each(['./a', 'a/../b', 'a//b', '/a', '..'])('leave the key %s to the SDK', async (Key) => {
    expect(await aws.presignGet('bucket', Key, 60)).toBeUndefined();
    await put(Key, Key);
    expect(await read((await aws.call('GetObject', { Bucket: 'bucket', Key })).Body)).toBe(Key);
  });

  it('list objects of any key as the SDK does, in pages and in "directories"', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(key, { minLength: 1, maxLength: 6 }), fc.boolean(), async (keys, grouped) => {
        for (const Key of keys) await put(`list/${Key}`, Key);
        const Delimiter = grouped ? '/' : undefined;
        let token: string | undefined;
        let pages = 0;
        do {
          const input = { Bucket: 'bucket', Prefix: 'list/', Delimiter, MaxKeys: 3, ContinuationToken: token };
          const { Contents, CommonPrefixes, ...direct } = await aws.call('ListObjectsV2', input);
          const bySdk = await at.s3.send(new ListObjectsV2Command(input));
          const told = (bySdk.Contents ?? []).map(({ Key, ETag, Size, LastModified }) => ({
            Key,
            ETag,
            Size,
            LastModified,
          }));
          expect(Contents).toEqual(told);
          expect(CommonPrefixes).toEqual(bySdk.CommonPrefixes ?? []);
          expect(direct.IsTruncated).toBe(bySdk.IsTruncated);
          token = direct.NextContinuationToken;
        } while (token && ++pages < 100);
        expect(token).toBeUndefined();
      }),
      { numRuns: 30 },
    );
    expect(loaded).toEqual([]);
  });

  it('tell what S3 keeps of an object as the SDK does', async () => {
    await put('a head', 'text');
    const input = { Bucket: 'bucket', Key: 'a head', ChecksumMode: 'ENABLED' as const };
    const { ETag, ContentLength, LastModified, ChecksumSHA256 } = await at.s3.send(new HeadObjectCommand(input));
    expect(ChecksumSHA256).toBeTruthy();
    const head = await aws.call('HeadObject', input);
    expect(head).toMatchObject({ ETag, ContentLength, LastModified, ChecksumSHA256 });
    expect(loaded).toEqual([]);
  });

  it('tell how much of a body was written, and its parts make the whole', async () => {
    const Body = Buffer.alloc(3 * 1024 * 1024 + 1, 'a');
    const written: number[] = [];
    await aws.call('PutObject', { Bucket: 'bucket', Key: 'large', Body }, undefined, (bytes) => written.push(bytes));
    expect(written.length).toBeGreaterThan(10);
    expect(written.reduce((sum, bytes) => sum + bytes, 0)).toBe(Body.length);
    const { ContentLength } = await aws.call('HeadObject', { Bucket: 'bucket', Key: 'large' });
    expect(ContentLength).toBe(Body.length);
    expect(loaded).toEqual([]);
  });

  it('load no part of the SDK', async () => {
    await put('a key', 'text');
    expect((await aws.call('GetCallerIdentity', {})).Arn).toMatch(/^arn:aws:/);
    expect((await aws.call('HeadBucket', { Bucket: 'bucket' })).BucketRegion).toBe('eu-west-1');
    await aws.call('GetObject', { Bucket: 'bucket', Key: 'a key' });
    for await (const instance of aws.instances({})) expect(instance.InstanceId).toMatch(/^i-/);
    await aws.presignGet('bucket', 'a key', 60);
    await aws.presignPost('bucket', 'a/', { fields: {}, conditions: [], lifetime: 60 });
    const [{ id }] = at.aws.instances.all();
    const { InstanceInformationList } = await aws.call('DescribeInstanceInformation', {
      Filters: [{ Key: 'InstanceIds', Values: [id] }],
    });
    expect(InstanceInformationList).toMatchObject([{ InstanceId: id, PingStatus: 'Online' }]);
    const { Command } = await aws.call('SendCommand', {
      DocumentName: 'AWS-RunShellScript',
      InstanceIds: [id],
      Parameters: { commands: ['true'] },
    });
    await aws.call('GetCommandInvocation', { CommandId: Command!.CommandId, InstanceId: id });
    expect(await aws.region()).toBe('eu-west-1');
    expect(await aws.accessKey()).toBe(at.aws.environment.AWS_ACCESS_KEY_ID);
    expect(loaded).toEqual(['xml']);
  });

  it('describe instances as the SDK does, whatever their tags hold', async () => {
    const [box] = at.aws.instances.all();
    // What XML 1.0 can't carry, AWS refuses in a tag.
    const value = fc
      .string({ unit: 'grapheme', maxLength: 60 })
      // Those with "." or ".." between slashes are left to the SDK.
      .filter((text) => !/(^|\/)\.{1,2}(\/|$)/.test(text))
      .filter((text) => !/[\0-\x1f\ufffe\uffff\ud800-\udfff]/.test(text));
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(value, fc.constantFrom(' a ', '<b>&amp;', '1e5', '007', 'true', ']]>')),
        async (text) => {
          await at.ec2.send(new CreateTagsCommand({ Resources: [box.id], Tags: [{ Key: 'Note', Value: text }] }));
          const { Reservations = [] } = await at.ec2.send(new DescribeInstancesCommand({}));
          const bySdk = Reservations.flatMap(({ Instances = [] }) => Instances.map(toInstanceInfo));
          const direct = [];
          for await (const instance of aws.instances({})) direct.push(toInstanceInfo(instance));
          expect(direct).toEqual(bySdk);
          expect(direct[0].tags.Note).toBe(text);
        },
      ),
      { numRuns: 40 },
    );
    expect(new Set(loaded)).toEqual(new Set(['xml']));
  });

  it('sign a form whose conditions S3 checks', async () => {
    const form = (await aws.presignPost('bucket', 'up/', {
      fields: { 'x-amz-checksum-algorithm': 'SHA256' },
      conditions: [['starts-with', '$Content-Type', '']],
      lifetime: 60,
    }))!;
    const send = async (name: string) => {
      const data = new FormData();
      for (const [field, value] of Object.entries(form.fields)) data.append(field, field === 'key' ? name : value);
      data.append('Content-Type', 'text/plain');
      data.append('file', new Blob(['text']), 'file');
      return (await fetch(form.url, { method: 'POST', body: data })).status;
    };
    expect(await send('up/a')).toBe(204);
    expect(await send('down/a')).toBe(403);
    expect(loaded).toEqual([]);
  });

  it('answer with the errors that their callers expect', async () => {
    await put('once', 'text');
    const { ETag } = await aws.call('GetObject', { Bucket: 'bucket', Key: 'once' });
    const status = (call: Promise<unknown>) =>
      call.then(
        () => null,
        (error) => [error.name, error.$metadata?.httpStatusCode],
      );
    expect(await status(put('once', 'other', { IfNoneMatch: '*' }))).toEqual(['PreconditionFailed', 412]);
    expect(await status(aws.call('GetObject', { Bucket: 'bucket', Key: 'none' }))).toEqual(['NoSuchKey', 404]);
    expect(await status(aws.call('GetObject', { Bucket: 'bucket', Key: 'once', IfNoneMatch: ETag }))).toEqual([
      '304',
      304,
    ]);
    expect(await status(aws.call('HeadObject', { Bucket: 'bucket', Key: 'none' }))).toEqual(['NotFound', 404]);
    const after = aws.call('GetObject', { Bucket: 'bucket', Key: 'once', Range: 'bytes=100-' });
    expect(await status(after)).toEqual(['InvalidRange', 416]);
    const [{ id: InstanceId }] = at.aws.instances.all();
    const unknown = { CommandId: '00000000-0000-4000-8000-000000000000', InstanceId };
    expect(await status(aws.call('GetCommandInvocation', unknown))).toEqual(['InvocationDoesNotExist', 400]);
    expect(loaded).toEqual([]);
  });

  it('are made by the SDK after a failure, because the SDK explains it', async () => {
    await expect(aws.call('GetObject', { Bucket: 'no-such-bucket', Key: 'a' })).rejects.toMatchObject({
      name: 'NoSuchBucket',
      $metadata: { httpStatusCode: 404 },
    });
    expect(loaded).toContain('s3');
    // From now on at once.
    const { attempts } = await aws.call('GetObject', { Bucket: 'bucket', Key: 'once' });
    expect(attempts).toBe(1);
    expect(await aws.presignGet('bucket', 'once', 60)).toBeUndefined();
    process.env.AWS_SECRET_ACCESS_KEY = 'wrong';
    const other = new Aws({});
    await expect(
      (async () => {
        for await (const _ of other.instances({})) void _;
      })(),
    ).rejects.toMatchObject({ name: 'AuthFailure' });
    other.close();
  });

  it('end when they are aborted, and are not sent again', async () => {
    const sent = at.aws.requests?.length;
    const abort = AbortSignal.abort();
    await expect(aws.call('DescribeInstances', {}, abort)).rejects.toMatchObject({ name: 'AbortError' });
    expect(loaded).toEqual([]);
    expect(at.aws.requests?.length).toBe(sent);
  });

  describe('from a server that is no AWS', () => {
    let server: Server;
    let requests: number;
    let answer: { type: string; body: string };
    beforeEach(async () => {
      requests = 0;
      server = createServer((request, response) => {
        requests++;
        request.resume().on('end', () => response.setHeader('content-type', answer.type).end(answer.body));
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      process.env.AWS_ENDPOINT_URL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    });
    afterEach(() => {
      server.closeAllConnections();
      server.close();
    });

    // The instance starts once what comes twice: `repeat.ts`.
    it('are sent again by the SDK if their answer is cut off', async () => {
      answer = { type: 'application/x-amz-json-1.1', body: '{"Command": {"Comm' };
      const input = { DocumentName: 'AWS-RunShellScript', InstanceIds: ['i-0123456789abcdef0'] };
      await expect(aws.call('SendCommand', input)).rejects.toThrow('JSON');
      expect(requests).toBe(2);
    });

    it('do not take a web page for an answer', async () => {
      answer = { type: 'text/html', body: '<html>Sign in</html>' };
      await expect(aws.call('DescribeInstances', {})).rejects.toMatchObject({ code: 'FOREIGN_ANSWER' });
    });
  });

  it("learn AWS's clock", async () => {
    const real = Date.now;
    const offset = 20 * 60_000;
    jest.spyOn(Date, 'now').mockImplementation(() => real() + offset);
    const { date } = await aws.call('GetObject', { Bucket: 'bucket', Key: 'once' });
    expect(Math.abs(date! - real())).toBeLessThan(60_000);
    expect(Math.abs((await aws.clockOffset()) + offset)).toBeLessThan(60_000);
    const signed = new URL((await aws.presignGet('bucket', 'once', 60))!).searchParams.get('X-Amz-Date')!;
    const time = signed.replace(/(....)(..)(..)T(..)(..)(..)Z/, '$1-$2-$3T$4:$5:$6Z');
    expect(Math.abs(Date.parse(time) - real())).toBeLessThan(60_000);
  });
});

describe('where requests go', () => {
  const before = { ...process.env };
  let directory: string;
  beforeEach(() => {
    for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name];
    directory = mkdtempSync(join(tmpdir(), 'nx-ec2-direct-'));
    process.env.AWS_CONFIG_FILE = join(directory, 'config');
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
    process.env = { ...before };
  });

  it.each([
    ['ssm', 'eu-west-1', undefined, 'https://ssm.eu-west-1.amazonaws.com/'],
    ['ec2', 'us-east-1', undefined, 'https://ec2.us-east-1.amazonaws.com/'],
    ['s3', 'us-east-1', 'my-bucket', 'https://my-bucket.s3.us-east-1.amazonaws.com/'],
  ])('%s in %s is known', (service, region, bucket, url) => {
    expect(directEndpoint(service, region, bucket)?.url.href).toBe(url);
  });

  it.each([
    ['no region', 'ssm', undefined, undefined, {}],
    ['a region that is a host', 'ssm', 'evil.example.com/', undefined, {}],
    ['China', 'ssm', 'cn-north-1', undefined, {}],
    ['GovCloud', 'ssm', 'us-gov-west-1', undefined, {}],
    ['an isolated partition', 'ssm', 'us-iso-east-1', undefined, {}],
    ['FIPS', 'ssm', 'us-east-1', undefined, { AWS_USE_FIPS_ENDPOINT: 'true' }],
    ['dual stack', 's3', 'us-east-1', 'bucket', { AWS_USE_DUALSTACK_ENDPOINT: 'true' }],
    ['no bucket', 's3', 'us-east-1', undefined, {}],
    ['a bucket with a dot', 's3', 'us-east-1', 'my.bucket', {}],
    ['a directory bucket', 's3', 'us-east-1', 'name--use1-az4--x-s3', {}],
    ['an access point', 's3', 'us-east-1', 'arn:aws:s3:us-east-1:111122223333:accesspoint/a', {}],
    ['an endpoint with a path', 'ssm', 'us-east-1', undefined, { AWS_ENDPOINT_URL: 'http://127.0.0.1:1/base' }],
    ['an endpoint that is no address', 'ssm', 'us-east-1', undefined, { AWS_ENDPOINT_URL: 'nonsense' }],
  ])('%s is left to the SDK', (_, service, region, bucket, environment) => {
    Object.assign(process.env, environment);
    expect(directEndpoint(service, region, bucket)).toBeUndefined();
  });

  it.each([
    'endpoint_url = http://x',
    'use_fips_endpoint=true',
    '  services = mine',
    's3 =\n  addressing_style = path',
  ])('a configuration file with "%s" is left to the SDK', (line) => {
    writeFileSync(process.env.AWS_CONFIG_FILE!, `[default]\nregion = eu-west-1\n${line}\n`);
    expect(directEndpoint('ssm', 'eu-west-1')).toBeUndefined();
  });

  it('a configuration file that only names a region changes nothing', () => {
    writeFileSync(process.env.AWS_CONFIG_FILE!, '[profile a]\nregion = us-east-1\nsso_session = mine\n');
    expect(directEndpoint('ssm', 'eu-west-1')?.url.host).toBe('ssm.eu-west-1.amazonaws.com');
  });
});
