import { createHash, createHmac } from 'node:crypto';
import { request as httpRequest, type OutgoingHttpHeaders } from 'node:http';
import { text } from 'node:stream/consumers';
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { DescribeInstancesCommand, EC2Client } from '@aws-sdk/client-ec2';
import { GetObjectCommand, ListBucketsCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { DescribeInstanceInformationCommand, SSMClient } from '@aws-sdk/client-ssm';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { sign } from 'aws4';
import { refusal, startFixture, type Fixture } from '../local-aws.fixture';

describe('signatures', () => {
  let at: Fixture;
  beforeAll(async () => {
    at = await startFixture();
    await at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'a b', Body: 'content' }));
  });
  afterAll(() => at.close());

  const clients = (more: object) => ({
    s3: new S3Client({ ...at.clientOptions, forcePathStyle: true, ...more }).send(new ListBucketsCommand({})),
    ssm: new SSMClient({ ...at.clientOptions, ...more }).send(new DescribeInstanceInformationCommand({})),
    ec2: new EC2Client({ ...at.clientOptions, ...more }).send(new DescribeInstancesCommand({})),
    sts: new STSClient({ ...at.clientOptions, ...more }).send(new GetCallerIdentityCommand({})),
  });
  const refusals = async (more: object) =>
    Object.fromEntries(
      await Promise.all(Object.entries(clients(more)).map(async ([name, sent]) => [name, await refusal(sent)])),
    );

  it('with a wrong secret are refused, with the error of each service', async () => {
    const { accessKeyId } = at.clientOptions.credentials;
    expect(await refusals({ credentials: { accessKeyId, secretAccessKey: 'wrong' } })).toEqual({
      s3: 'SignatureDoesNotMatch 403',
      ssm: 'InvalidSignatureException 400',
      ec2: 'AuthFailure 401',
      sts: 'SignatureDoesNotMatch 403',
    });
  });

  it('with an unknown access key are refused', async () => {
    expect(await refusals({ credentials: { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'x' } })).toEqual({
      s3: 'InvalidAccessKeyId 403',
      ssm: 'UnrecognizedClientException 400',
      ec2: 'AuthFailure 401',
      sts: 'InvalidClientTokenId 403',
    });
  });

  it('are required by every API except a presigned form of S3', async () => {
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    const bodies: [string, Record<string, string>][] = [
      ['Action=RunInstances&Version=2016-11-15&ImageId=ami-1&MinCount=1&MaxCount=1', form],
      ['Action=GetCallerIdentity&Version=2011-06-15', form],
      ['{}', { 'x-amz-target': 'AmazonSSM.SendCommand' }],
      ['{}', { 'x-amz-target': 'secretsmanager.GetSecretValue' }],
      ['{}', { authorization: 'AWS4-HMAC-SHA256 Credential=x' }],
    ];
    for (const [body, headers] of bodies) {
      const answer = await fetch(at.aws.url, { method: 'POST', headers, body });
      expect([body, answer.status >= 400]).toEqual([body, true]);
    }
    for (const service of ['constructor', '__proto__', 'hasOwnProperty', 'nothing']) {
      const authorization = `AWS4-HMAC-SHA256 Credential=AKIALOCALLOCALLOCAL1/20240101/eu-west-1/${service}/aws4_request, SignedHeaders=host, Signature=${'0'.repeat(64)}`;
      const answer = await fetch(at.aws.url, { method: 'POST', headers: { authorization } });
      expect([service, answer.status]).toEqual([service, 404]);
    }
    expect(at.aws.calls.all().filter(({ service }) => service === 'ec2')).toEqual([]);
    expect(at.aws.instances.all()).toHaveLength(1);
  });

  it('from a clock that is off by more than 15 minutes are refused', async () => {
    const off = { systemClockOffset: 16 * 60_000 };
    expect((await refusals(off)).s3).toBe('RequestTimeTooSkewed 403');
  });

  it('of a role need its session token', async () => {
    const role = 'arn:aws:iam::000000000000:role/trainer';
    const { Credentials: given } = await at.sts.send(new AssumeRoleCommand({ RoleArn: role, RoleSessionName: 'me' }));
    const session = {
      accessKeyId: given!.AccessKeyId!,
      secretAccessKey: given!.SecretAccessKey!,
      sessionToken: given!.SessionToken!,
    };
    const sts = new STSClient({ ...at.clientOptions, credentials: session });
    expect((await sts.send(new GetCallerIdentityCommand({}))).Arn).toBe(
      'arn:aws:sts::000000000000:assumed-role/trainer/me',
    );
    const s3 = new S3Client({ ...at.clientOptions, credentials: session, forcePathStyle: true });
    const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket: 'bucket', Key: 'a b' }));
    expect(await (await fetch(url)).text()).toBe('content');
    expect(await refusals({ credentials: { ...session, sessionToken: 'another' } })).toMatchObject({
      s3: 'InvalidToken 400',
      sts: 'InvalidClientTokenId 403',
    });
  });

  describe('in headers', () => {
    const send = (signed: Record<string, string>, unsigned: Record<string, string>) => {
      const { host } = new URL(at.aws.url);
      const { accessKeyId, secretAccessKey } = at.clientOptions.credentials;
      const request = { service: 's3', region: 'eu-west-1', method: 'PUT', host, path: '/bucket/signed', body: '' };
      const { headers } = sign({ ...request, headers: signed }, { accessKeyId, secretAccessKey });
      return new Promise<string>((resolve, reject) =>
        httpRequest(`${at.aws.url}${request.path}`, {
          method: 'PUT',
          headers: { ...headers, ...unsigned } as OutgoingHttpHeaders,
        })
          .on('response', (answer) => void text(answer).then((body) => resolve(`${answer.statusCode} ${body}`), reject))
          .on('error', reject)
          .end(),
      );
    };
    const notSigned = (name: string) => new RegExp(`^403 .*<HeadersNotSigned>${name}</HeadersNotSigned>`, 's');

    it('cover what S3 acts on', async () => {
      const copy = { 'x-amz-copy-source': '/bucket/a%20b' };
      expect(await send({}, copy)).toMatch(notSigned('x-amz-copy-source'));
      expect(await send({ 'x-amz-meta-a': '1' }, { 'x-amz-meta-a': '2' })).toMatch(/^403 .*SignatureDoesNotMatch/s);
      expect(await send({}, { 'x-amzn-trace-id': 'Root=1', 'content-type': 'text/plain' })).toMatch(/^200 /);
      expect(await send(copy, {})).toMatch(/^200 .*CopyObjectResult/s);
    });
  });

  describe('of version 2 in a URL', () => {
    /** @param lines what the signature covers after the time: headers, then the resource. */
    const url = (method: string, path: string, ...lines: string[]) => {
      const { accessKeyId, secretAccessKey } = at.clientOptions.credentials;
      const expires = String(Math.floor(Date.now() / 1000) + 60);
      const signature = createHmac('sha1', secretAccessKey)
        .update([method, '', lines.length > 1 ? 'text/plain' : '', expires, ...lines].join('\n'))
        .digest('base64');
      const query = new URLSearchParams({ AWSAccessKeyId: accessKeyId, Expires: expires, Signature: signature });
      return `${at.aws.url}${path}${path.includes('?') ? '&' : '?'}${query.toString()}`;
    };
    const put = async (to: string, headers: Record<string, string> = {}) => {
      const answer = await fetch(to, { method: 'PUT', headers, body: new Uint8Array() });
      return `${answer.status} ${/<Code>(.*)<\/Code>/.exec(await answer.text())?.[1] ?? ''}`.trim();
    };

    it('allow no header and no parameter that changes the request, unless it is signed', async () => {
      const plain = url('PUT', '/bucket/v2', '/bucket/v2');
      expect(await put(plain)).toBe('200');
      expect(await put(plain, { 'x-amz-copy-source': '/bucket/a%20b' })).toBe('403 SignatureDoesNotMatch');
      expect(await put(plain, { 'content-type': 'text/plain' })).toBe('403 SignatureDoesNotMatch');
      expect(await put(`${plain}&uploadId=1&partNumber=1`)).toBe('403 SignatureDoesNotMatch');
      const copy = url('PUT', '/bucket/v2', 'x-amz-copy-source:/bucket/a%20b', '/bucket/v2');
      expect(await put(copy, { 'x-amz-copy-source': '/bucket/a%20b', 'content-type': 'text/plain' })).toBe('200');
      const part = url('PUT', '/bucket/v2?uploadId=1&partNumber=1', '/bucket/v2?partNumber=1&uploadId=1');
      expect(await put(part)).toBe('404 NoSuchUpload');
    });
  });

  describe('in a URL', () => {
    const sign = (seconds: number, when = new Date()) =>
      getSignedUrl(at.s3, new GetObjectCommand({ Bucket: 'bucket', Key: 'a b' }), {
        expiresIn: seconds,
        signingDate: when,
      });
    const code = async (url: string, init?: RequestInit) => {
      const response = await fetch(url, init);
      return `${response.status} ${/<Code>(.*)<\/Code>/.exec(await response.text())?.[1] ?? ''}`.trim();
    };

    it('allow only a GET of that object until they expire', async () => {
      const url = await sign(60);
      expect(await code(url)).toBe('200');
      expect(await code(url, { method: 'PUT', body: 'x' })).toBe('403 SignatureDoesNotMatch');
      expect(await code(url.replace('a%20b', 'other'))).toBe('403 SignatureDoesNotMatch');
      expect(await code(url.replace('X-Amz-Expires=60', 'X-Amz-Expires=600'))).toBe('403 SignatureDoesNotMatch');
      expect(await code(await sign(60, new Date(Date.now() - 61_000)))).toBe('403 AccessDenied');
      expect(await code(await sign(60, new Date(Date.now() + 20 * 60_000)))).toBe('403 AccessDenied');
    });

    it('allow no header that changes the request, unless it is signed', async () => {
      const url = await getSignedUrl(at.s3, new PutObjectCommand({ Bucket: 'bucket', Key: 'put' }));
      const put = async (headers: Record<string, string>) => {
        const answer = await fetch(url, { method: 'PUT', headers, body: 'new' });
        return [answer.status, await answer.text()];
      };
      const md5 = createHash('md5').update('new').digest('base64');
      for (const [headers, names] of [
        [{ 'x-amz-copy-source': '/bucket/a%20b' }, 'x-amz-copy-source'],
        [{ 'x-amz-meta-b': '1', 'x-amz-acl': 'public-read' }, 'x-amz-acl, x-amz-meta-b'],
        [{ 'Content-MD5': md5 }, 'content-md5'],
      ] as const)
        expect(await put(headers)).toEqual([
          403,
          expect.stringContaining(
            `<Code>AccessDenied</Code><Message>There were headers present in the request which were not signed</Message><HeadersNotSigned>${names}</HeadersNotSigned>`,
          ),
        ]);
      expect(await refusal(at.s3.send(new GetObjectCommand({ Bucket: 'bucket', Key: 'put' })))).toBe('NoSuchKey 404');
      expect(await put({ 'content-type': 'text/plain', 'x-amzn-trace-id': 'Root=1', range: 'bytes=0-' })).toEqual([
        200,
        '',
      ]);
    });

    it('are valid for seven days at most', async () => {
      const url = (await sign(604_800)).replace('604800', '604801');
      expect(await code(url)).toBe('400 AuthorizationQueryParametersError');
    });
  });
});
