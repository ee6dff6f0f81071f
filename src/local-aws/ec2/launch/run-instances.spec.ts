import {
  CreateLaunchTemplateCommand,
  DeleteLaunchTemplateCommand,
  DescribeInstancesCommand,
  DescribeVolumesCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
  type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2';
import { LOCAL_IDENTITY } from '../../protocol/identity';
import { refusal, startFixture, type Fixture } from '../../local-aws.fixture';
import { until } from '../../../system/until.fixture';

const IMAGE = 'ami-00000000000000003';

describe('RunInstances', () => {
  let at: Fixture;
  const identity = { ...LOCAL_IDENTITY, deny: [] as string[] };
  beforeAll(async () => {
    at = await startFixture({ instances: [], identities: [identity] });
  });
  afterAll(() => at.close());
  afterEach(() => at.aws.capacity.clear());

  const run = async (more: Partial<RunInstancesCommandInput> = {}) => {
    const command = new RunInstancesCommand({ ImageId: IMAGE, MinCount: 1, MaxCount: 1, ...more });
    return (await at.ec2.send(command)).Instances!;
  };
  /** Code and message. */
  const refused = async (more: Partial<RunInstancesCommandInput>) =>
    run(more).then(
      () => null,
      (error: Error) => `${error.name}: ${error.message}`,
    );

  it('launches the requested instances, and describes them as DescribeInstances does', async () => {
    const [made] = await run({
      InstanceType: 'g4dn.xlarge',
      IamInstanceProfile: { Name: 'training' },
      InstanceInitiatedShutdownBehavior: 'terminate',
      MetadataOptions: { HttpTokens: 'required' },
      NetworkInterfaces: [{ DeviceIndex: 0, SubnetId: 'subnet-0000000000000000b', AssociatePublicIpAddress: false }],
      BlockDeviceMappings: [{ DeviceName: '/dev/sda1', Ebs: { VolumeSize: 100, VolumeType: 'gp3', Encrypted: true } }],
      TagSpecifications: [
        { ResourceType: 'instance', Tags: [{ Key: 'Team', Value: 'a b & <c>' }] },
        { ResourceType: 'volume', Tags: [{ Key: 'Team', Value: 'vision' }] },
      ],
    });
    const { Reservations } = await at.ec2.send(new DescribeInstancesCommand({ InstanceIds: [made.InstanceId!] }));
    expect(Reservations![0].Instances![0]).toEqual(made);
    expect(made).toMatchObject({
      ImageId: IMAGE,
      State: { Code: 16, Name: 'running' },
      InstanceType: 'g4dn.xlarge',
      Placement: { AvailabilityZone: 'eu-west-1b' },
      SubnetId: 'subnet-0000000000000000b',
      Architecture: 'x86_64',
      RootDeviceName: '/dev/sda1',
      IamInstanceProfile: { Arn: 'arn:aws:iam::000000000000:instance-profile/training' },
      MetadataOptions: { HttpTokens: 'required' },
      Tags: [{ Key: 'Team', Value: 'a b & <c>' }],
    });
    expect(made.PublicIpAddress).toBeUndefined();
    expect(made.BlockDeviceMappings).toHaveLength(1);
    const { Volumes } = await at.ec2.send(
      new DescribeVolumesCommand({ Filters: [{ Name: 'attachment.instance-id', Values: [made.InstanceId!] }] }),
    );
    expect(Volumes).toMatchObject([
      { Size: 100, VolumeType: 'gp3', Encrypted: true, State: 'in-use', Tags: [{ Key: 'Team', Value: 'vision' }] },
    ]);
  });

  it('creates a second volume for another device name, and deletes it unless it is to be kept', async () => {
    const [{ InstanceId, BlockDeviceMappings }] = await run({
      BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs: { VolumeSize: 100, DeleteOnTermination: false } }],
    });
    expect(BlockDeviceMappings!.map(({ DeviceName }) => DeviceName)).toEqual(['/dev/sda1', '/dev/xvda']);
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [InstanceId!] }));
    const ids = BlockDeviceMappings!.map(({ Ebs }) => Ebs!.VolumeId!);
    expect(at.aws.left().volumes).toContain(ids[1]);
    expect(at.aws.left().volumes).not.toContain(ids[0]);
    expect(await refusal(at.ec2.send(new DescribeVolumesCommand({ VolumeIds: [ids[0]] })))).toBe(
      'InvalidVolume.NotFound 400',
    );
    const { Volumes } = await at.ec2.send(new DescribeVolumesCommand({ VolumeIds: [ids[1]] }));
    expect(Volumes).toMatchObject([{ State: 'available', Attachments: [] }]);
  });

  it('launches once for one client token, and refuses other parameters under it', async () => {
    const first = await run({ ClientToken: 'once', MaxCount: 2 });
    expect(first).toHaveLength(2);
    expect((await run({ ClientToken: 'once', MaxCount: 2 })).map(({ InstanceId }) => InstanceId)).toEqual(
      first.map(({ InstanceId }) => InstanceId),
    );
    expect(await refused({ ClientToken: 'once', MaxCount: 2, InstanceType: 'm5.large' })).toMatch(
      /^IdempotentParameterMismatch: /,
    );
    expect(await refused({ ClientToken: 'x'.repeat(65) })).toMatch(/^InvalidParameterValue: /);
  });

  it.each<[string, Partial<RunInstancesCommandInput>, RegExp]>([
    ['no image of that form', { ImageId: 'ami-1' }, /^InvalidAMIID.Malformed: /],
    ['no such image', { ImageId: 'ami-0123456789abcdef0' }, /^InvalidAMIID.NotFound: The image id/],
    ['no such type', { InstanceType: 'g9.huge' as never }, /^InvalidParameterValue: Invalid value 'g9.huge'/],
    [
      'a type of another architecture',
      { InstanceType: 'm7g.large' },
      /^InvalidParameterValue: The architecture 'arm64'/,
    ],
    [
      'a type that the zone has not',
      { InstanceType: 'p4d.24xlarge', Placement: { AvailabilityZone: 'eu-west-1a' } },
      /^Unsupported: .*choosing eu-west-1b\.$/,
    ],
    [
      'no such zone',
      { Placement: { AvailabilityZone: 'eu-west-1z' } },
      /^InvalidParameterValue: Invalid availability zone/,
    ],
    ['no such subnet', { SubnetId: 'subnet-1' }, /^InvalidSubnetID.NotFound: /],
    ['no such security group', { SecurityGroupIds: ['sg-1'] }, /^InvalidGroup.NotFound: /],
    ['no such key', { KeyName: 'mine' }, /^InvalidKeyPair.NotFound: The key pair 'mine' does not exist/],
    [
      'a disk that is too small',
      { BlockDeviceMappings: [{ DeviceName: '/dev/sda1', Ebs: { VolumeSize: 5 } }] },
      /^InvalidBlockDeviceMapping: .*expect size >= 8GB/,
    ],
    [
      'user data that is too long',
      { UserData: Buffer.alloc(16_385).toString('base64') },
      /^InvalidParameterValue: .*16384 bytes/,
    ],
    [
      'a tag of what has none',
      { TagSpecifications: [{ ResourceType: 'vpc', Tags: [{ Key: 'a', Value: 'b' }] }] },
      /^InvalidParameterValue: 'vpc'/,
    ],
    ['fewer than one', { MaxCount: 0 }, /^InvalidParameterValue: /],
  ])('refuses %s', async (_, more, expected) => {
    expect(await refused(more)).toMatch(expected);
  });

  it('refuses an instance profile until it has arrived from IAM', async () => {
    at.aws.profiles.arrive('new', 200);
    const named = { IamInstanceProfile: { Name: 'new' } };
    expect(await refused(named)).toBe(
      'InvalidParameterValue: Value (new) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name',
    );
    await until(async () => (await refused(named)) === null);
  });

  it('has no capacity where the configuration says so: in a zone, of a type, on a market, for a number of times', async () => {
    const { capacity } = at.aws;
    capacity.add({ zone: 'eu-west-1a', type: 'g5.xlarge', times: 1 });
    const inZone = { InstanceType: 'g5.xlarge', Placement: { AvailabilityZone: 'eu-west-1a' } } as const;
    expect(await refused(inZone)).toMatch(
      /^InsufficientInstanceCapacity: We currently do not have sufficient g5\.xlarge capacity in the Availability Zone you requested \(eu-west-1a\)/,
    );
    expect(await refused(inZone)).toBeNull();
    capacity.add({ zone: 'eu-west-1a' });
    expect((await run())[0].Placement!.AvailabilityZone).toBe('eu-west-1b');
    capacity.add({ market: 'spot' });
    expect(await refused({ InstanceMarketOptions: { MarketType: 'spot' } })).toMatch(
      /^InsufficientInstanceCapacity: There is no Spot capacity/,
    );
    capacity.clear();
    capacity.add({ type: 'p3.2xlarge', code: 'VcpuLimitExceeded' });
    expect(await refused({ InstanceType: 'p3.2xlarge' })).toMatch(/^VcpuLimitExceeded: You have requested more vCPU/);
    capacity.add({ market: 'spot', code: 'MaxSpotInstanceCountExceeded' });
    expect(await refused({ InstanceMarketOptions: { MarketType: 'spot' } })).toBe(
      'MaxSpotInstanceCountExceeded: Max spot instance count exceeded',
    );
    expect(await refused({})).toBeNull();
    expect(at.aws.left().spotRequests).toEqual([]);
  });

  it('refuses what the caller may not do, also in a dry run', async () => {
    expect(await refused({ DryRun: true })).toMatch(/^DryRunOperation: Request would have succeeded/);
    const tags = { TagSpecifications: [{ ResourceType: 'instance' as const, Tags: [{ Key: 'a', Value: 'b' }] }] };
    identity.deny.push('ec2:CreateTags', 'iam:PassRole', 'iam:CreateServiceLinkedRole');
    expect(await refused({ ...tags, DryRun: true })).toMatch(/^UnauthorizedOperation: .*ec2:CreateTags/);
    expect(await refused({ IamInstanceProfile: { Name: 'training' } })).toMatch(
      /^UnauthorizedOperation: .*iam:PassRole/,
    );
    expect(await refused({ InstanceMarketOptions: { MarketType: 'spot' } })).toMatch(
      /^AuthFailure.ServiceLinkedRoleCreationNotPermitted: /,
    );
    expect(await refused({})).toBeNull();
    identity.deny.push('ec2:RunInstances');
    expect(await refused({ DryRun: true })).toMatch(/^UnauthorizedOperation: .*ec2:RunInstances/);
    identity.deny.length = 0;
  });

  it('launches from a template, whose parameters those of the call override', async () => {
    const made = await at.ec2.send(
      new CreateLaunchTemplateCommand({
        LaunchTemplateName: 'training',
        LaunchTemplateData: {
          ImageId: IMAGE,
          InstanceType: 'm5.large',
          InstanceInitiatedShutdownBehavior: 'terminate',
        },
      }),
    );
    const command = new RunInstancesCommand({
      LaunchTemplate: { LaunchTemplateId: made.LaunchTemplate!.LaunchTemplateId, Version: '$Latest' },
      InstanceType: 'c5.xlarge',
      MinCount: 1,
      MaxCount: 1,
    });
    expect((await at.ec2.send(command)).Instances).toMatchObject([{ ImageId: IMAGE, InstanceType: 'c5.xlarge' }]);
    await at.ec2.send(new DeleteLaunchTemplateCommand({ LaunchTemplateName: 'training' }));
    expect(await refusal(at.ec2.send(command))).toBe('InvalidLaunchTemplateId.NotFound 400');
  });
});
