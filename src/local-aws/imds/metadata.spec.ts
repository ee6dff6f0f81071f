import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { ListBucketsCommand, S3Client } from '@aws-sdk/client-s3';
import { DescribeInstanceInformationCommand, SSMClient } from '@aws-sdk/client-ssm';
import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { refusal, startFixture, type Fixture } from '../local-aws.fixture';
import { until } from '../../system/until.fixture';

describe('the metadata service of an instance', () => {
  let at: Fixture;
  let id: string;
  beforeAll(async () => {
    at = await startFixture({ instances: ['box', 'other'] });
    id = at.aws.named.get('box')!.id;
  });
  afterAll(() => at.close());

  const ask = async (path: string, init: RequestInit = {}, instance = id) => {
    const answer = await fetch(`${at.aws.instances.metadataUrl(instance)}/latest/${path}`, init);
    return { status: answer.status, body: await answer.text() };
  };
  const token = async (seconds = 60, instance = id) =>
    ask('api/token', { method: 'PUT', headers: { 'x-aws-ec2-metadata-token-ttl-seconds': String(seconds) } }, instance);
  const get = async (path: string) => ask(path, { headers: { 'x-aws-ec2-metadata-token': (await token()).body } });

  it('answers only callers with a valid token', async () => {
    expect(await get('meta-data/instance-id')).toEqual({ status: 200, body: id });
    expect((await ask('meta-data/instance-id')).status).toBe(401);
    const foreign = (await token(60, at.aws.named.get('other')!.id)).body;
    expect((await ask('meta-data/instance-id', { headers: { 'x-aws-ec2-metadata-token': foreign } })).status).toBe(401);
    expect((await token(0)).status).toBe(400);
    expect((await token(21_601)).status).toBe(400);
    expect((await ask('api/token')).status).toBe(405);
  });

  it('answers only callers with the secret of the instance, and no web page', async () => {
    const own = at.aws.instances.metadataUrl(id);
    const others = at.aws.instances.get(at.aws.named.get('other')!.id)!.secret;
    const put = async (url: string, more: Record<string, string> = {}) =>
      (
        await fetch(`${url}/latest/api/token`, {
          method: 'PUT',
          headers: { 'x-aws-ec2-metadata-token-ttl-seconds': '60', ...more },
        })
      ).status;
    expect(await put(own)).toBe(200);
    for (const path of [id, `${id}/`, `${id}/guess`, `${id}/${others}`])
      expect([path, await put(`${at.aws.url}/imds/${path}`)]).toEqual([path, 404]);
    expect(await put(own, { 'sec-fetch-site': 'cross-site' })).toBe(403);
  });

  it('refuses a token that has expired', async () => {
    const headers = { 'x-aws-ec2-metadata-token': (await token(1)).body };
    expect((await ask('meta-data/instance-id', { headers })).status).toBe(200);
    await until(async () => (await ask('meta-data/instance-id', { headers })).status === 401);
  });

  it('describes the instance and its zone', async () => {
    expect((await get('meta-data/instance-type')).body).toBe('t3.micro');
    expect((await get('meta-data/placement/region')).body).toBe('eu-west-1');
    expect((await get('meta-data/placement/availability-zone')).body).toBe('eu-west-1a');
    expect(JSON.parse((await get('dynamic/instance-identity/document')).body)).toMatchObject({
      instanceId: id,
      region: 'eu-west-1',
      accountId: '000000000000',
    });
    expect((await get('meta-data/spot/instance-action')).status).toBe(404);
  });

  describe('with a role', () => {
    /** Those that the metadata service hands out now. */
    const credentials = async () => {
      const found = JSON.parse((await get('meta-data/iam/security-credentials/local-instance')).body) as {
        [name: string]: string;
      };
      return {
        accessKeyId: found.AccessKeyId,
        secretAccessKey: found.SecretAccessKey,
        sessionToken: found.Token,
        expiration: new Date(found.Expiration),
      };
    };

    it('gives credentials of the role, the same ones until they expire', async () => {
      const first = await credentials();
      expect(await credentials()).toEqual(first);
      const sts = new STSClient({ ...at.clientOptions, credentials: first });
      const { Arn } = await sts.send(new GetCallerIdentityCommand({}));
      expect(Arn).toBe(`arn:aws:sts::000000000000:assumed-role/local-instance/${id}`);
      at.aws.role(id).expire();
      expect(await refusal(sts.send(new GetCallerIdentityCommand({})))).toBe('ExpiredToken 400');
      expect((await credentials()).accessKeyId).not.toBe(first.accessKeyId);
    });

    it('refuses denied actions with the error of each service', async () => {
      const role = at.aws.role(id);
      const options = { ...at.clientOptions, credentials: await credentials() };
      role.deny.push('ssm:DescribeInstanceInformation', 's3:*', 'sts:GetCallerIdentity');
      const ssm = new SSMClient(options);
      expect(await refusal(ssm.send(new DescribeInstanceInformationCommand({})))).toBe('AccessDeniedException 400');
      expect(await refusal(new STSClient(options).send(new GetCallerIdentityCommand({})))).toBe('AccessDenied 403');
      role.deny.length = 0;
      await ssm.send(new DescribeInstanceInformationCommand({}));
      await new S3Client({ ...options, forcePathStyle: true }).send(new ListBucketsCommand({}));
    });

    it('gives no credentials after the role was removed', async () => {
      at.aws.role(id).name = null;
      expect((await get('meta-data/iam/security-credentials/')).status).toBe(404);
      at.aws.role(id).name = 'local-instance';
      expect((await get('meta-data/iam/security-credentials/')).body).toBe('local-instance');
    });
  });

  it('stops answering when its instance is terminated', async () => {
    const { id: other } = at.aws.named.get('other')!;
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [other] }));
    expect((await token(60, other)).status).toBe(404);
  });
});
