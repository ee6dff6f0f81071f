import { DescribeInstancesCommand } from '@aws-sdk/client-ec2';
import { DeleteObjectsCommand, HeadBucketCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { DescribeInstanceInformationCommand, SendCommandCommand } from '@aws-sdk/client-ssm';
import fc from 'fast-check';
import { LOCAL_IDENTITY } from '../local-aws/protocol/identity';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { sanitizeForTerminal } from '../report/terminal-text';
import { Aws } from './clients';
import { parseDenial } from './denied';
import { awsProblem } from './reason';

const USER = 'User: arn:aws:iam::123456789012:user/ann is not authorized to perform: ';

describe('a message of AWS about a denied call', () => {
  // As the user guides of IAM, S3 and EC2 quote them.
  it.each([
    [
      `${USER}ssm:SendCommand on resource: arn:aws:ec2:eu-west-1:123456789012:instance/i-0abc because no identity-based policy allows the ssm:SendCommand action`,
      'ssm:SendCommand',
      'arn:aws:ec2:eu-west-1:123456789012:instance/i-0abc',
    ],
    [
      `You are not authorized to perform this operation. ${USER}ec2:RunInstances on resource: arn:aws:ec2:eu-west-1:123456789012:volume/* because no identity-based policy allows the ec2:RunInstances action. Encoded authorization failure message: 6h34GtpmGjJJUm9lZ3ZT`,
      'ec2:RunInstances',
      'arn:aws:ec2:eu-west-1:123456789012:volume/*',
    ],
    [
      `${USER}s3:PutObject on resource: "arn:aws:s3:::acme/v2/a b" because no identity-based policy allows the s3:PutObject action`,
      's3:PutObject',
      'arn:aws:s3:::acme/v2/a b',
    ],
    [
      `${USER}iam:PassRole on resource: arn:aws:iam::123456789012:role/training because no identity-based policy allows the iam:PassRole action`,
      'iam:PassRole',
      'arn:aws:iam::123456789012:role/training',
    ],
    [
      `${USER}kms:GenerateDataKey on this resource because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access`,
      'kms:GenerateDataKey',
      null,
    ],
    ['You are not authorized to perform this operation. Encoded authorization failure message: 6h34Gtp', null, null],
    ['Access Denied', null, null],
  ])('is parsed: %s', (text, action, resource) => {
    expect(parseDenial(text)).toEqual({ action, resource, explicit: false });
  });

  it('tells an explicit denial from a missing permission', () => {
    const text = `${USER}ec2:RunInstances on resource: * with an explicit deny in a service control policy`;
    expect(parseDenial(text)).toEqual({ action: 'ec2:RunInstances', resource: '*', explicit: true });
  });

  it('is not found in other texts', () => {
    for (const text of [
      '',
      'Rate exceeded',
      'NoSuchKey: The specified key does not exist.',
      'not authorized to perform: x',
    ])
      expect(parseDenial(text)).toBeNull();
    fc.assert(
      fc.property(
        fc.string(),
        (text) => void expect(/denied|authorized/i.test(text) || parseDenial(text) === null).toBe(true),
      ),
    );
  });

  it('is safe to print, whatever it contains', () => {
    const pieces = fc.constantFrom(
      USER,
      'on resource: ',
      '"',
      'arn:aws:s3:::b/',
      '\u001b]0;x\u0007',
      '\u001b[2J',
      '\r\n',
      ' because ',
      's3:Get',
      '\u0000',
      '*',
      'Access Denied',
    );
    const text = fc.array(fc.oneof(pieces, fc.string({ unit: 'binary', maxLength: 8 })), { maxLength: 20 });
    fc.assert(
      fc.property(text, (parts) => {
        const denial = parseDenial(parts.join(''));
        if (!denial) return;
        for (const each of [denial.action, denial.resource]) expect(sanitizeForTerminal(each ?? '')).toBe(each ?? '');
        expect(denial.action ?? 's3:x').toMatch(/^[a-z0-9-]+:[A-Za-z0-9]+$/i);
      }),
      { numRuns: 2000 },
    );
    expect(parseDenial(`${USER}${'s3:'.repeat(100_000)}`)).toBeNull();
  });
});

describe('a refused call', () => {
  let at: Fixture;
  let aws: Aws;
  const before = { ...process.env };
  const deny: string[] = [];
  beforeAll(async () => {
    at = await startFixture({ identities: [{ ...LOCAL_IDENTITY, accessKeyId: 'AKIALIMITEDLIMITED01', deny }] });
    Object.assign(process.env, at.aws.environment, { AWS_ACCESS_KEY_ID: 'AKIALIMITEDLIMITED01' });
    aws = new Aws({});
  });
  afterAll(async () => {
    aws.close();
    process.env = before;
    await at.close();
  });
  const problem = async (call: () => Promise<unknown>) => {
    const error = await call().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    return awsProblem('INTERNAL', 'No.', error);
  };

  it('names the action that AWS names, and the policy that should allow it', async () => {
    deny.splice(0, deny.length, 'ssm:SendCommand', 'ec2:DescribeInstances');
    const ssm = await aws.ssm();
    const InstanceIds = [at.aws.named.get('box')!.id];
    const sent = await problem(() =>
      ssm.send(new SendCommandCommand({ InstanceIds, DocumentName: 'AWS-RunShellScript' })),
    );
    expect(sent.aws).toMatchObject({
      code: 'AccessDeniedException',
      denied: { action: 'ssm:SendCommand', resource: null, explicit: false },
    });
    expect(sent.next).toBe('The caller lacks ssm:SendCommand: the CallerPolicy of nx g nx-ec2:aws-setup has it.');
    const described = await problem(async () => (await aws.ec2()).send(new DescribeInstancesCommand({})));
    expect(described.aws!.denied).toMatchObject({ action: 'ec2:DescribeInstances' });
  });

  it('names the action of the failed call if AWS names none', async () => {
    const error = { code: 'AccessDenied', message: 'Access Denied', status: 403 };
    at.aws.faults.add({ service: 's3', times: 4, error });
    at.aws.faults.add({ service: 'ssm', times: 1, error: { ...error, code: 'AccessDeniedException', message: '' } });
    const s3 = await aws.s3();
    const of = { Bucket: 'bucket', Key: 'a b' };
    const denied = async (call: () => Promise<unknown>) => (await problem(call)).aws!.denied;
    expect(await denied(() => s3.send(new PutObjectCommand({ ...of, Body: 'x' })))).toEqual({
      action: 's3:PutObject',
      resource: 'arn:aws:s3:::bucket/a b',
      explicit: false,
    });
    // A HEAD has no words at all.
    expect(await denied(() => s3.send(new HeadObjectCommand(of)))).toMatchObject({ action: 's3:GetObject' });
    expect(await denied(() => s3.send(new HeadBucketCommand({ Bucket: 'bucket' })))).toMatchObject({
      action: 's3:ListBucket',
      resource: 'arn:aws:s3:::bucket',
    });
    const Delete = { Objects: [{ Key: 'a' }] };
    expect(await denied(() => s3.send(new DeleteObjectsCommand({ Bucket: 'bucket', Delete })))).toMatchObject({
      action: 's3:DeleteObject',
    });
    const ssm = await aws.ssm();
    expect(await denied(() => ssm.send(new DescribeInstanceInformationCommand({})))).toMatchObject({
      action: 'ssm:DescribeInstanceInformation',
    });
  });

  it('does not hide another error', async () => {
    deny.length = 0;
    const ssm = await aws.ssm();
    const InstanceIds = ['i-0123456789abcdef0'];
    const sent = await problem(() =>
      ssm.send(new SendCommandCommand({ InstanceIds, DocumentName: 'AWS-RunShellScript' })),
    );
    expect(sent.aws).toMatchObject({ code: 'InvalidInstanceId' });
    expect(sent.aws!.denied).toBeUndefined();
  });
});
