import { DescribeInstancesCommand, TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { HeadBucketCommand } from '@aws-sdk/client-s3';
import { DescribeInstanceInformationCommand } from '@aws-sdk/client-ssm';
import { Aws } from './clients';
import { awsProblem } from './reason';

/** As Node's own error, which in a test's realm the SDK takes for no error and wraps. */
const refuse = () => async () => {
  throw Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:9'), { code: 'ECONNREFUSED' });
};

describe('a connection that is refused', () => {
  const before = { ...process.env };
  afterEach(() => {
    for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name];
    Object.assign(process.env, before);
  });

  const S3 = { AWS_ENDPOINT_URL_S3: 'http://s3.test:1' };
  const SSM = { AWS_ENDPOINT_URL_SSM: 'http://ssm.test:2' };
  const ALL = { AWS_ENDPOINT_URL: 'http://all.test:3' };
  const IGNORED = { AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: 'true' };
  it.each([
    ['s3', { ...S3, ...ALL }, 'at AWS_ENDPOINT_URL_S3 (http://s3.test:1):'],
    ['s3', { ...SSM, ...ALL }, 'at AWS_ENDPOINT_URL (http://all.test:3):'],
    ['s3', { AWS_ENDPOINT_URL: 'http://me:pass@WORD@all.test:3' }, 'at AWS_ENDPOINT_URL (http://all.test:3):'],
    ['ssm', { ...S3, ...SSM }, 'at AWS_ENDPOINT_URL_SSM (http://ssm.test:2):'],
    ['ssm', S3, 'HTTPS_PROXY'],
    ['s3', { ...S3, ...ALL, ...IGNORED }, 'HTTPS_PROXY'],
  ])('to %s, with %j, is explained by what set the address', async (service, variables, expected) => {
    for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name];
    Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret' }, variables);
    const aws = new Aws({ region: 'eu-west-1' });
    try {
      const [s3, ssm] = [await aws.s3(), await aws.ssm()];
      s3.middlewareStack.add(refuse, { step: 'deserialize', priority: 'low' });
      ssm.middlewareStack.add(refuse, { step: 'deserialize', priority: 'low' });
      const error = await (
        service === 's3'
          ? s3.send(new HeadBucketCommand({ Bucket: 'bucket' }))
          : ssm.send(new DescribeInstanceInformationCommand({}))
      ).catch((thrown: unknown) => thrown);
      const { next } = awsProblem('INTERNAL', 'It failed.', error);
      expect(next).toContain(expected);
      if (expected === 'HTTPS_PROXY') expect(next).not.toContain('AWS_ENDPOINT_URL');
    } finally {
      aws.close();
    }
  });
});

it.each([
  ['ECONNRESET', new TerminateInstancesCommand({ InstanceIds: ['i-0123456789abcdef0'] }), true],
  ['ECONNREFUSED', new TerminateInstancesCommand({ InstanceIds: ['i-0123456789abcdef0'] }), false],
  ['ECONNRESET', new DescribeInstancesCommand({}), false],
])('says of a request that met %s whether EC2 may have done it (%#)', async (code, command, expected) => {
  const aws = new Aws({ region: 'eu-west-1' });
  const before = { ...process.env };
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret' });
  try {
    const ec2 = await aws.ec2Once();
    const fail = () => async () => {
      throw Object.assign(new Error('no answer'), { code });
    };
    ec2.middlewareStack.add(fail, { step: 'deserialize', priority: 'low' });
    const error: unknown = await ec2.send(command as TerminateInstancesCommand).catch((thrown: unknown) => thrown);
    const { next } = awsProblem('INTERNAL', 'It failed.', error);
    expect(next!.startsWith('EC2 may have done it all the same')).toBe(expected);
  } finally {
    process.env = before;
    aws.close();
  }
});
