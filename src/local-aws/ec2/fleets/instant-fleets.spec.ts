import {
  CreateFleetCommand,
  CreateLaunchTemplateCommand,
  DescribeFleetsCommand,
  DescribeInstancesCommand,
  type CreateFleetCommandInput,
  type CreateFleetCommandOutput,
  type FleetLaunchTemplateOverridesRequest,
} from '@aws-sdk/client-ec2';
import { refusal, startFixture, type Fixture } from '../../local-aws.fixture';

const SUBNETS = { a: 'subnet-0000000000000000a', b: 'subnet-0000000000000000b', c: 'subnet-0000000000000000c' };
const [C5, R5] = ['c5.xlarge', 'r5.xlarge'] as const;

/** In the order of their prices: both types in two zones. */
const OVERRIDES: FleetLaunchTemplateOverridesRequest[] = [C5, R5].flatMap((InstanceType) =>
  [SUBNETS.a, SUBNETS.b].map((SubnetId) => ({ InstanceType, SubnetId })),
);

/** Type and zone of each group of instances, with their number. */
function launched({ Instances }: CreateFleetCommandOutput) {
  return Instances!.map(({ InstanceType, AvailabilityZone, InstanceIds }) => [
    InstanceType,
    AvailabilityZone,
    InstanceIds!.length,
  ]);
}

/** Type and subnet of each override that could not launch all instances, with the code. */
function errors({ Errors }: CreateFleetCommandOutput) {
  return Errors!.map(({ LaunchTemplateAndOverrides, ErrorCode }) => {
    const { InstanceType, SubnetId } = LaunchTemplateAndOverrides!.Overrides!;
    return [InstanceType, SubnetId, ErrorCode];
  });
}

const NONE = 'InsufficientInstanceCapacity';

describe.each([
  ['on-demand', 'OnDemandOptions'],
  ['spot', 'SpotOptions'],
] as const)('an instant fleet of several instances: %s', (market, options) => {
  let at: Fixture;
  beforeEach(async () => {
    at = await startFixture({ instances: [] });
    await at.ec2.send(
      new CreateLaunchTemplateCommand({
        LaunchTemplateName: 'training',
        LaunchTemplateData: { ImageId: 'ami-00000000000000005' },
      }),
    );
  });
  afterEach(() => at.close());

  const create = (
    count: number,
    rules: Pick<
      NonNullable<CreateFleetCommandInput[typeof options]>,
      'SingleInstanceType' | 'SingleAvailabilityZone'
    > & {
      MinTargetCapacity?: number;
    },
    more: Partial<CreateFleetCommandInput> = {},
    overrides = OVERRIDES,
  ) =>
    at.ec2.send(
      new CreateFleetCommand({
        Type: 'instant',
        TargetCapacitySpecification: { TotalTargetCapacity: count, DefaultTargetCapacityType: market },
        [options]: rules,
        LaunchTemplateConfigs: [
          {
            LaunchTemplateSpecification: { LaunchTemplateName: 'training', Version: '$Latest' },
            Overrides: overrides,
          },
        ],
        ...more,
      }),
    );

  it('launches what it finds, over several types and zones', async () => {
    at.aws.capacity.add({ type: C5, zone: 'eu-west-1a', instances: 1 });
    at.aws.capacity.add({ type: C5, zone: 'eu-west-1b', instances: 2 });
    const made = await create(4, {});
    expect(launched(made)).toEqual([
      [C5, 'eu-west-1a', 1],
      [C5, 'eu-west-1b', 2],
      [R5, 'eu-west-1a', 1],
    ]);
    expect(errors(made)).toEqual([
      [C5, SUBNETS.a, NONE],
      [C5, SUBNETS.b, NONE],
    ]);
    at.aws.capacity.add({ type: R5, market, instances: 2 });
    expect(launched(await create(4, {}))).toEqual([[R5, 'eu-west-1a', 1]]);
  });

  it('has one type, one zone, or both, if that is demanded', async () => {
    at.aws.capacity.add({ type: C5, zone: 'eu-west-1a', instances: 2 });
    at.aws.capacity.add({ type: R5, zone: 'eu-west-1a', instances: 1 });
    expect(launched(await create(3, { SingleInstanceType: true }))).toEqual([
      [C5, 'eu-west-1a', 2],
      [C5, 'eu-west-1b', 1],
    ]);
    at.aws.capacity.clear();
    at.aws.capacity.add({ type: C5, zone: 'eu-west-1b', instances: 3 });
    at.aws.capacity.add({ zone: 'eu-west-1a', instances: 4 });
    expect(launched(await create(4, { SingleAvailabilityZone: true }))).toEqual([
      [C5, 'eu-west-1b', 2],
      [R5, 'eu-west-1b', 2],
    ]);
    const both = await create(3, { SingleInstanceType: true, SingleAvailabilityZone: true });
    expect(launched(both)).toEqual([[R5, 'eu-west-1b', 3]]);
    expect(errors(both)).toEqual([
      [C5, SUBNETS.a, NONE],
      [C5, SUBNETS.b, NONE],
      [R5, SUBNETS.a, NONE],
    ]);
  });

  it('launches none if there are fewer than MinTargetCapacity, with an error of each override', async () => {
    for (const type of [C5, R5])
      for (const zone of ['eu-west-1a', 'eu-west-1b']) at.aws.capacity.add({ type, zone, instances: 2 });
    const single = { SingleInstanceType: true, SingleAvailabilityZone: true };
    const made = await create(3, { ...single, MinTargetCapacity: 3 }, { ClientToken: 'all' });
    expect(made.Instances).toEqual([]);
    expect(errors(made)).toEqual(OVERRIDES.map(({ InstanceType, SubnetId }) => [InstanceType, SubnetId, NONE]));
    expect(at.aws.left()).toMatchObject({ instances: [], volumes: [], spotRequests: [], fleets: [] });
    at.aws.capacity.clear();
    const again = await create(3, { ...single, MinTargetCapacity: 3 }, { ClientToken: 'all' });
    expect([again.FleetId, again.Instances]).toEqual([made.FleetId, []]);

    at.aws.capacity.add({ type: C5, instances: 2 });
    at.aws.capacity.add({ type: R5, instances: 1 });
    expect(launched(await create(3, { ...single, MinTargetCapacity: 2 }))).toEqual([[C5, 'eu-west-1a', 2]]);
  });

  it('answers with the same instances to the same token, and tells of them later', async () => {
    const rules = { SingleInstanceType: true, SingleAvailabilityZone: true, MinTargetCapacity: 3 };
    const made = await create(3, rules, { ClientToken: 'once' });
    expect(launched(made)).toEqual([[C5, 'eu-west-1a', 3]]);
    expect((await create(3, rules, { ClientToken: 'once' })).Instances).toEqual(made.Instances);
    const { Fleets } = await at.ec2.send(new DescribeFleetsCommand({ FleetIds: [made.FleetId!] }));
    const [{ InstanceIds }] = made.Instances!;
    expect(Fleets![0].Instances).toMatchObject([{ InstanceIds, InstanceType: C5, Lifecycle: market }]);
    const { Reservations } = await at.ec2.send(new DescribeInstancesCommand({ InstanceIds }));
    expect(Reservations!.flatMap(({ Instances }) => Instances!.map(({ SubnetId }) => SubnetId))).toEqual(
      Array(3).fill(SUBNETS.a),
    );
  });

  it('uses its other overrides if a zone does not offer the type of one', async () => {
    const overrides = [
      { InstanceType: 'g5.xlarge', SubnetId: SUBNETS.c },
      { InstanceType: 'g5.12xlarge', SubnetId: SUBNETS.b },
    ] as const;
    const made = await create(2, { SingleInstanceType: true, MinTargetCapacity: 2 }, {}, [...overrides]);
    expect(launched(made)).toEqual([['g5.12xlarge', 'eu-west-1b', 2]]);
    const code = market === 'spot' ? 'InvalidFleetConfiguration' : 'Unsupported';
    expect(errors(made)).toEqual([['g5.xlarge', SUBNETS.c, code]]);
  });

  it('is refused with rules that EC2 does not accept', async () => {
    const single = { SingleInstanceType: true };
    expect(await refusal(create(2, { MinTargetCapacity: 2 }))).toBe('InvalidParameterCombination 400');
    for (const MinTargetCapacity of [0, 3])
      expect(await refusal(create(2, { ...single, MinTargetCapacity }))).toBe('InvalidParameterValue 400');
    expect(await refusal(create(2000, { ...single, MinTargetCapacity: 1001 }))).toBe('InvalidParameterValue 400');
    for (const rules of [single, { SingleAvailabilityZone: true }])
      expect(await refusal(create(2, rules, { Type: 'maintain' }))).toBe('InvalidParameterCombination 400');
    expect(at.aws.left().fleets).toEqual([]);
  });
});
