import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { DescribeInstancesCommand, EC2Client } from '@aws-sdk/client-ec2';
import { GetObjectCommand, ListBucketsCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { DescribeInstanceInformationCommand, SSMClient } from '@aws-sdk/client-ssm';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
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

    it('are valid for seven days at most', async () => {
      const url = (await sign(604_800)).replace('604800', '604801');
      expect(await code(url)).toBe('400 AuthorizationQueryParametersError');
    });
  });
});
