import {
  DescribeAvailabilityZonesCommand,
  DescribeImagesCommand,
  DescribeInstanceTypeOfferingsCommand,
  DescribeInstanceTypesCommand,
  DescribeSecurityGroupsCommand,
  DescribeSubnetsCommand,
  DescribeVpcsCommand,
  RunInstancesCommand,
} from '@aws-sdk/client-ec2';
import { GetParameterCommand, PutParameterCommand } from '@aws-sdk/client-ssm';
import { refusal, startFixture, type Fixture } from '../local-aws.fixture';
import { IMAGES } from '../catalog/images';

describe('the catalog of a region', () => {
  let at: Fixture;
  beforeAll(async () => {
    at = await startFixture({ instances: [], region: 'eu-west-1' });
  });
  afterAll(() => at.close());

  it.each(IMAGES.flatMap(({ parameters }) => parameters))('has the image that %s names', async (Name) => {
    const { Parameter } = await at.ssm.send(new GetParameterCommand({ Name }));
    expect(Parameter!.ARN).toBe(`arn:aws:ssm:eu-west-1::parameter${Name}`);
    const { Images } = await at.ec2.send(new DescribeImagesCommand({ ImageIds: [Parameter!.Value!] }));
    const arm = /arm64/.test(Name);
    expect(Images).toMatchObject([
      {
        Architecture: arm ? 'arm64' : 'x86_64',
        RootDeviceName: /amazon-linux/.test(Name) ? '/dev/xvda' : '/dev/sda1',
        State: 'available',
      },
    ]);
    expect(Images![0].BlockDeviceMappings![0].DeviceName).toBe(Images![0].RootDeviceName);
    const launched = await at.ec2.send(
      new RunInstancesCommand({
        ImageId: Parameter!.Value,
        InstanceType: arm ? 'g5g.xlarge' : 'g4dn.xlarge',
        MinCount: 1,
        MaxCount: 1,
      }),
    );
    expect(launched.Instances).toHaveLength(1);
  });

  it('has no other public parameters, and nobody can add one', async () => {
    const Name = '/aws/service/ami-amazon-linux-latest/windows';
    expect(await refusal(at.ssm.send(new GetParameterCommand({ Name })))).toBe('ParameterNotFound 400');
    expect(await refusal(at.ssm.send(new PutParameterCommand({ Name, Value: 'x', Type: 'String' })))).toBe(
      'ValidationException 400',
    );
  });

  it('finds images by owner and name', async () => {
    const { Images } = await at.ec2.send(
      new DescribeImagesCommand({
        Owners: ['099720109477'],
        Filters: [
          { Name: 'name', Values: ['ubuntu/images/*24.04*'] },
          { Name: 'architecture', Values: ['arm64'] },
        ],
      }),
    );
    expect(Images!.map(({ ImageId }) => ImageId)).toEqual(['ami-00000000000000004']);
    const missing = new DescribeImagesCommand({ ImageIds: ['ami-0123456789abcdef0'] });
    expect(await refusal(at.ec2.send(missing))).toBe('InvalidAMIID.NotFound 400');
  });

  it('describes instance types', async () => {
    const { InstanceTypes } = await at.ec2.send(
      new DescribeInstanceTypesCommand({ InstanceTypes: ['m7g.large', 'g4dn.12xlarge'] }),
    );
    const found = InstanceTypes!.map(({ InstanceType, VCpuInfo, MemoryInfo, GpuInfo, ProcessorInfo }) => [
      InstanceType,
      VCpuInfo!.DefaultVCpus,
      MemoryInfo!.SizeInMiB,
      GpuInfo?.Gpus?.[0].Count,
      ...ProcessorInfo!.SupportedArchitectures!,
    ]);
    expect(found).toEqual([
      ['m7g.large', 2, 8192, undefined, 'arm64'],
      ['g4dn.12xlarge', 48, 196_608, 4, 'x86_64'],
    ]);
    const unknown = new DescribeInstanceTypesCommand({ InstanceTypes: ['g9.huge' as never] });
    expect(await refusal(at.ec2.send(unknown))).toBe('InvalidInstanceType 400');
  });

  it('describes the network cards of instance types, and which have EFA', async () => {
    const Filters = [{ Name: 'network-info.efa-supported', Values: ['true'] }];
    const { InstanceTypes } = await at.ec2.send(new DescribeInstanceTypesCommand({ Filters }));
    const found = InstanceTypes!.map(({ InstanceType, NetworkInfo }) => [
      InstanceType,
      NetworkInfo!.EfaInfo!.MaximumEfaInterfaces,
      NetworkInfo!.MaximumNetworkCards,
      NetworkInfo!.MaximumNetworkInterfaces,
    ]);
    expect(found).toEqual([
      ['g4dn.12xlarge', 1, 1, 8],
      ['g5.12xlarge', 1, 1, 15],
      ['g5.8xlarge', 1, 1, 8],
      ['g6.8xlarge', 1, 1, 8],
      ['p4d.24xlarge', 4, 4, 60],
      ['p5.48xlarge', 32, 32, 64],
    ]);
    const p5 = InstanceTypes!.at(-1)!.NetworkInfo!.NetworkCards!;
    expect([p5[0], p5[31]]).toEqual([
      { NetworkCardIndex: 0, MaximumNetworkInterfaces: 2 },
      { NetworkCardIndex: 31, MaximumNetworkInterfaces: 2 },
    ]);
    const one = new DescribeInstanceTypesCommand({ InstanceTypes: ['g5.xlarge'] });
    const [{ NetworkInfo }] = (await at.ec2.send(one)).InstanceTypes!;
    expect(NetworkInfo).toMatchObject({ EfaSupported: false, MaximumNetworkInterfaces: 4 });
    expect(NetworkInfo!.EfaInfo).toBeUndefined();
  });

  it('offers some instance types in some zones only', async () => {
    const { InstanceTypeOfferings } = await at.ec2.send(
      new DescribeInstanceTypeOfferingsCommand({
        LocationType: 'availability-zone',
        Filters: [{ Name: 'instance-type', Values: ['g5.xlarge', 'p4d.*'] }],
      }),
    );
    expect(InstanceTypeOfferings!.map(({ InstanceType, Location }) => [InstanceType, Location])).toEqual([
      ['g5.xlarge', 'eu-west-1a'],
      ['g5.xlarge', 'eu-west-1b'],
      ['p4d.24xlarge', 'eu-west-1b'],
    ]);
  });

  it('has a default VPC with a subnet in each zone', async () => {
    const { AvailabilityZones } = await at.ec2.send(new DescribeAvailabilityZonesCommand({}));
    expect(AvailabilityZones!.map(({ ZoneName, ZoneId }) => [ZoneName, ZoneId])).toEqual([
      ['eu-west-1a', 'euw1-az1'],
      ['eu-west-1b', 'euw1-az2'],
      ['eu-west-1c', 'euw1-az3'],
    ]);
    const { Vpcs } = await at.ec2.send(
      new DescribeVpcsCommand({ Filters: [{ Name: 'is-default', Values: ['true'] }] }),
    );
    const Filters = [{ Name: 'vpc-id', Values: [Vpcs![0].VpcId!] }];
    const { Subnets } = await at.ec2.send(new DescribeSubnetsCommand({ Filters }));
    expect(Subnets!.map(({ AvailabilityZone }) => AvailabilityZone)).toEqual(
      AvailabilityZones!.map(({ ZoneName }) => ZoneName),
    );
    const { SecurityGroups } = await at.ec2.send(new DescribeSecurityGroupsCommand({ Filters }));
    expect(SecurityGroups!.map(({ GroupName }) => GroupName)).toEqual(['default']);
  });
});
