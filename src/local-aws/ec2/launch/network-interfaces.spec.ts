import {
  DescribeInstanceTypesCommand,
  RunInstancesCommand,
  type InstanceNetworkInterfaceSpecification,
  type _InstanceType,
} from '@aws-sdk/client-ec2';
import { refusal, startFixture, type Fixture } from '../../local-aws.fixture';

/** EFA interfaces as AWS recommends them for a type. */
async function recommended(at: Fixture, type: _InstanceType): Promise<InstanceNetworkInterfaceSpecification[]> {
  const { InstanceTypes } = await at.ec2.send(new DescribeInstanceTypesCommand({ InstanceTypes: [type] }));
  const { NetworkCards } = InstanceTypes![0].NetworkInfo!;
  const efaOnly = NetworkCards!.map(({ NetworkCardIndex, MaximumNetworkInterfaces }) => ({
    NetworkCardIndex,
    DeviceIndex: MaximumNetworkInterfaces === 1 ? 0 : 1,
    InterfaceType: 'efa-only',
  }));
  return [{ NetworkCardIndex: 0, DeviceIndex: 0, InterfaceType: 'interface' }, ...efaOnly];
}

describe('the network interfaces of a launch', () => {
  let at: Fixture;
  beforeAll(async () => {
    at = await startFixture({ instances: [] });
  });
  afterAll(() => at.close());

  const run = (InstanceType: _InstanceType, NetworkInterfaces: InstanceNetworkInterfaceSpecification[]) =>
    refusal(
      at.ec2.send(
        new RunInstancesCommand({
          ImageId: 'ami-00000000000000005',
          InstanceType,
          NetworkInterfaces,
          MinCount: 1,
          MaxCount: 1,
        }),
      ),
    );

  it.each(['g5.8xlarge', 'p4d.24xlarge', 'p5.48xlarge'] as const)('can be EFA, on each card: %s', async (type) => {
    expect(await run(type, await recommended(at, type))).toBeNull();
  });

  const efa = { DeviceIndex: 0, InterfaceType: 'efa' };
  it.each<[string, _InstanceType, InstanceNetworkInterfaceSpecification[], string]>([
    ['EFA on a type that has none', 'g5.xlarge', [efa], 'AttachmentLimitExceeded 400'],
    ['more EFA than the type has', 'g5.8xlarge', [efa, { ...efa, DeviceIndex: 1 }], 'AttachmentLimitExceeded 400'],
    [
      'EFA without an address as the primary',
      'g5.8xlarge',
      [{ ...efa, InterfaceType: 'efa-only' }],
      'InvalidParameterCombination 400',
    ],
    ['a card that the type has not', 'g5.8xlarge', [{ ...efa, NetworkCardIndex: 1 }], 'InvalidParameterValue 400'],
    ['two of one device index', 'p4d.24xlarge', [efa, efa], 'InvalidParameterValue 400'],
    [
      'three on a card for two',
      't3.micro',
      [0, 1, 2].map((DeviceIndex) => ({ DeviceIndex })),
      'AttachmentLimitExceeded 400',
    ],
    ['a type that is none', 'g5.8xlarge', [{ ...efa, InterfaceType: 'ena' }], 'InvalidParameterValue 400'],
  ])('can not be %s', async (_, type, interfaces, expected) => {
    expect(await run(type, interfaces)).toBe(expected);
  });

  it('have a public address only if there is one interface', async () => {
    const withAddress = { ...efa, AssociatePublicIpAddress: true };
    expect(await run('p4d.24xlarge', [withAddress])).toBeNull();
    expect(await run('p4d.24xlarge', [withAddress, { ...efa, NetworkCardIndex: 1 }])).toBe(
      'InvalidParameterCombination 400',
    );
  });
});
