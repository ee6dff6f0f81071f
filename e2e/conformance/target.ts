import { randomBytes } from 'node:crypto';
import { EC2Client } from '@aws-sdk/client-ec2';
import { S3Client } from '@aws-sdk/client-s3';
import { SSMClient } from '@aws-sdk/client-ssm';
import { startFixture } from '../../src/local-aws/local-aws.fixture';

/** What the suite is run on: AWS, or local AWS where no bucket is named. */
export interface Target {
  bucket: string;
  instance: string;
  region: string;
  /** Everything that the suite writes is below these, and nothing else is. */
  prefix: string;
  remoteRoot: string;
  s3: S3Client;
  ssm: SSMClient;
  /** For processes that the suite starts. */
  environment: NodeJS.ProcessEnv;
  close(): Promise<void>;
}

export async function openTarget(): Promise<Target> {
  const name = `nx-ec2-conformance-${randomBytes(5).toString('hex')}`;
  const own = { prefix: `${name}/`, remoteRoot: `/var/tmp/${name}` };
  const { NX_EC2_CONFORMANCE_BUCKET: bucket, NX_EC2_CONFORMANCE_INSTANCE: instance } = process.env;
  if (bucket && instance) {
    const [s3, ssm, ec2] = [new S3Client({}), new SSMClient({}), new EC2Client({})];
    const region = await s3.config.region();
    const close = async () => [s3, ssm, ec2].forEach((client) => client.destroy());
    return { bucket, instance, region, ...own, s3, ssm, environment: process.env, close };
  }
  const at = await startFixture();
  const { endpoint, region, credentials } = at.clientOptions;
  const environment = {
    ...process.env,
    AWS_ENDPOINT_URL: endpoint,
    AWS_REGION: region,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
  };
  const box = at.aws.named.get('box')!.id;
  // Between two tests, a server closes connections that a client still counts as open.
  const options = { ...at.clientOptions, maxAttempts: 5 };
  const [s3, ssm] = [new S3Client({ ...options, forcePathStyle: true }), new SSMClient(options)];
  const close = async () => {
    for (const client of [s3, ssm]) client.destroy();
    await at.close();
  };
  return { bucket: 'bucket', instance: box, region, ...own, s3, ssm, environment, close };
}
