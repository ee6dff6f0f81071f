import {
  AbortMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  GetObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { DescribeInstancesCommand } from '@aws-sdk/client-ec2';
import { SendCommandCommand, SSMClient } from '@aws-sdk/client-ssm';
import { createPresignedPost } from '@aws-sdk/s3-presigned-post';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { LOCAL_IDENTITY } from './protocol/identity';
import { startFixture, type Fixture } from './local-aws.fixture';

const DENIED = { ...LOCAL_IDENTITY, accessKeyId: 'AKIADENIEDCOMMANDS01', arn: 'arn:aws:iam::000000000000:user/denied' };

describe('the log of calls', () => {
  let at: Fixture;
  beforeAll(async () => {
    at = await startFixture({ identities: [{ ...DENIED, deny: ['ssm:SendCommand'] }] });
  });
  afterAll(() => at.close());
  beforeEach(() => at.aws.calls.clear());
  const actions = () => at.aws.calls.all().map(({ action }) => action);

  it('names requests to S3 by their IAM action', async () => {
    const it = { Bucket: 'bucket', Key: 'a' };
    await at.s3.send(new PutObjectCommand({ ...it, Body: 'x' }));
    await at.s3.send(new HeadObjectCommand(it));
    await at.s3.send(new HeadBucketCommand({ Bucket: 'bucket' }));
    await at.s3.send(new ListObjectsV2Command({ Bucket: 'bucket' }));
    await at.s3.send(new CopyObjectCommand({ Bucket: 'bucket', Key: 'b', CopySource: 'bucket/a' }));
    const { UploadId } = await at.s3.send(new CreateMultipartUploadCommand(it));
    await at.s3.send(new UploadPartCommand({ ...it, UploadId, PartNumber: 1, Body: 'x' }));
    await at.s3.send(new ListPartsCommand({ ...it, UploadId }));
    await at.s3.send(new ListMultipartUploadsCommand({ Bucket: 'bucket' }));
    await at.s3.send(new AbortMultipartUploadCommand({ ...it, UploadId }));
    await at.s3.send(new DeleteObjectsCommand({ Bucket: 'bucket', Delete: { Objects: [{ Key: 'a' }] } }));
    expect(actions()).toEqual([
      's3:PutObject',
      's3:GetObject',
      's3:ListBucket',
      's3:ListBucket',
      ...['s3:PutObject', 's3:GetObject'],
      's3:PutObject',
      's3:PutObject',
      's3:ListMultipartUploadParts',
      's3:ListBucketMultipartUploads',
      's3:AbortMultipartUpload',
      's3:DeleteObject',
    ]);
    expect(at.aws.calls.all()[0]).toEqual({
      service: 's3',
      action: 's3:PutObject',
      principal: LOCAL_IDENTITY.arn,
      instance: undefined,
      resource: 'arn:aws:s3:::bucket/a',
      denied: false,
    });
  });

  it('counts a presigned URL or form as a call of its signer', async () => {
    const url = await getSignedUrl(at.s3, new GetObjectCommand({ Bucket: 'bucket', Key: 'gone' }));
    expect((await fetch(url)).status).toBe(404);
    const { url: to, fields } = await createPresignedPost(at.s3, { Bucket: 'bucket', Key: 'form' });
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.set(name, value);
    form.set('file', new Blob(['x']), 'x');
    expect((await fetch(to, { method: 'POST', body: form })).status).toBe(204);
    expect(at.aws.calls.all().map(({ action, principal }) => [action, principal])).toEqual([
      ['s3:GetObject', LOCAL_IDENTITY.arn],
      ['s3:PutObject', LOCAL_IDENTITY.arn],
    ]);
  });

  it('marks refused calls, and is empty after it is cleared', async () => {
    await at.ec2.send(new DescribeInstancesCommand({}));
    const ssm = new SSMClient({
      ...at.clientOptions,
      credentials: { ...at.clientOptions.credentials, accessKeyId: DENIED.accessKeyId },
    });
    const InstanceIds = [at.aws.named.get('box')!.id];
    await expect(ssm.send(new SendCommandCommand({ InstanceIds, DocumentName: 'AWS-RunShellScript' }))).rejects.toThrow(
      /not authorized to perform: ssm:SendCommand/,
    );
    ssm.destroy();
    expect(at.aws.calls.all().map(({ action, principal, denied }) => [action, principal, denied])).toEqual([
      ['ec2:DescribeInstances', LOCAL_IDENTITY.arn, false],
      ['ssm:SendCommand', DENIED.arn, true],
    ]);
    at.aws.calls.clear();
    expect(at.aws.calls.all()).toEqual([]);
  });
});
