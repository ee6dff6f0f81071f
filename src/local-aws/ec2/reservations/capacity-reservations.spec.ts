import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CancelCapacityReservationCommand,
  CreateCapacityReservationCommand,
  CreateFleetCommand,
  CreateLaunchTemplateCommand,
  CreatePlacementGroupCommand,
  DescribeCapacityBlockOfferingsCommand,
  DescribeCapacityReservationsCommand,
  PurchaseCapacityBlockCommand,
  RunInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
  type CreateCapacityReservationCommandInput,
  type DescribeCapacityBlockOfferingsCommandInput,
  type DescribeCapacityReservationsCommandInput,
  type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2';
import { refusal, startFixture, type Fixture } from '../../local-aws.fixture';
import { until } from '../../../system/until.fixture';

const TYPE = 'g5.12xlarge';
const SUBNETS = { a: 'subnet-0000000000000000a', b: 'subnet-0000000000000000b', c: 'subnet-0000000000000000c' };
const HOUR_MS = 3_600_000;

async function create(at: Fixture, more: Partial<CreateCapacityReservationCommandInput> = {}) {
  const command = new CreateCapacityReservationCommand({
    InstanceType: TYPE,
    InstancePlatform: 'Linux/UNIX',
    AvailabilityZone: 'eu-west-1b',
    InstanceCount: 3,
    InstanceMatchCriteria: 'targeted',
    ...more,
  });
  return (await at.ec2.send(command)).CapacityReservation!;
}

async function list(at: Fixture, input: DescribeCapacityReservationsCommandInput = {}) {
  return (await at.ec2.send(new DescribeCapacityReservationsCommand(input))).CapacityReservations!;
}

/** How many more instances a reservation has room for, and its state. */
async function free(at: Fixture, id: string) {
  const [{ AvailableInstanceCount, State }] = await list(at, { CapacityReservationIds: [id] });
  return [AvailableInstanceCount, State];
}

async function run(at: Fixture, count: number, more: Partial<RunInstancesCommandInput> = {}) {
  const command = new RunInstancesCommand({
    ImageId: 'ami-00000000000000005',
    InstanceType: TYPE,
    MinCount: count,
    MaxCount: count,
    ...more,
  });
  return (await at.ec2.send(command)).Instances!;
}

function target(CapacityReservationId: string): Partial<RunInstancesCommandInput> {
  return { CapacityReservationSpecification: { CapacityReservationTarget: { CapacityReservationId } } };
}

function prefer(
  CapacityReservationPreference: 'open' | 'none' | 'capacity-reservations-only',
): Partial<RunInstancesCommandInput> {
  return { CapacityReservationSpecification: { CapacityReservationPreference } };
}

const SPOT = { InstanceMarketOptions: { MarketType: 'spot' } } as const;
const BLOCK = { InstanceMarketOptions: { MarketType: 'capacity-block' } } as const;

describe('a capacity reservation', () => {
  let at: Fixture;
  beforeEach(async () => {
    at = await startFixture({ instances: [] });
  });
  afterEach(() => at.close());

  it('is described with what it has room for, and survives a restart', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-reservations-'));
    const first = await startFixture({ directory, instances: [] });
    const Tags = [{ Key: 'Team', Value: 'vision' }];
    const EndDate = new Date(Math.ceil(Date.now() / 1000 + 3600) * 1000);
    const made = await create(first, {
      EndDate,
      EndDateType: 'limited',
      TagSpecifications: [{ ResourceType: 'capacity-reservation', Tags }],
    });
    expect(made).toMatchObject({
      CapacityReservationId: expect.stringMatching(/^cr-[0-9a-f]{17}$/),
      ReservationType: 'default',
      InstanceType: TYPE,
      AvailabilityZone: 'eu-west-1b',
      TotalInstanceCount: 3,
      AvailableInstanceCount: 3,
      State: 'active',
      EndDate,
      EndDateType: 'limited',
      InstanceMatchCriteria: 'targeted',
      Tags,
    });
    await first.close();
    const second = await startFixture({ directory, instances: [] });
    const Filters = [
      { Name: 'state', Values: ['active'] },
      { Name: 'instance-type', Values: [TYPE] },
      { Name: 'tag:Team', Values: ['vision'] },
    ];
    expect(await list(second, { Filters })).toEqual([made]);
    expect(await list(second, { Filters: [{ Name: 'state', Values: ['expired'] }] })).toEqual([]);
    expect(second.aws.left().capacityReservations).toEqual([made.CapacityReservationId]);
    await second.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('takes the instances that name it, and as many as it has room for', async () => {
    const { CapacityReservationId: id } = await create(at);
    expect(await refusal(run(at, 4, target(id!)))).toBe('ReservationCapacityExceeded 400');
    expect(at.aws.left().instances).toEqual([]);
    const launched = await run(at, 2, target(id!));
    expect(
      launched.map(({ CapacityReservationId, Placement }) => [CapacityReservationId, Placement!.AvailabilityZone]),
    ).toEqual(Array(2).fill([id, 'eu-west-1b']));
    expect(await free(at, id!)).toEqual([1, 'active']);
    expect(await run(at, 1, { ...target(id!), MaxCount: 3 })).toHaveLength(1);
    expect(await refusal(run(at, 1, target(id!)))).toBe('ReservationCapacityExceeded 400');
    const [one, other] = launched.map(({ InstanceId }) => InstanceId!);
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [one] }));
    await at.ec2.send(new StopInstancesCommand({ InstanceIds: [other] }));
    expect(await free(at, id!)).toEqual([2, 'active']);
  });

  it('takes no addresses until instances run in it', async () => {
    const code = 'InsufficientFreeAddressesInSubnet';
    at.aws.capacity.add({ zone: 'eu-west-1b', code, instances: 3 });
    await create(at);
    expect(await run(at, 3, { InstanceType: 'c5.xlarge', SubnetId: SUBNETS.b })).toHaveLength(3);
  });

  it('has its capacity, whoever else wants it', async () => {
    at.aws.capacity.add({ type: TYPE, instances: 4 });
    const { CapacityReservationId: id } = await create(at);
    expect(await refusal(create(at, { InstanceCount: 2 }))).toBe('InsufficientInstanceCapacity 500');
    expect(await refusal(run(at, 2))).toBe('InsufficientInstanceCapacity 500');
    expect(await run(at, 1)).toHaveLength(1);
    expect(await run(at, 3, target(id!))).toHaveLength(3);
    await at.ec2.send(new CancelCapacityReservationCommand({ CapacityReservationId: id }));
    expect(await free(at, id!)).toEqual([0, 'cancelled']);
    expect(at.aws.left().capacityReservations).toEqual([]);
    expect(at.aws.left().instances).toHaveLength(4);
    expect(await refusal(run(at, 1))).toBe('InsufficientInstanceCapacity 500');
    expect(await refusal(run(at, 1, target(id!)))).toBe('ReservationCapacityExceeded 400');
  });

  it('is used by every launch that matches it if it is open, unless that does not want it', async () => {
    const { CapacityReservationId: id } = await create(at, { InstanceCount: 2, InstanceMatchCriteria: 'open' });
    const inZone = { SubnetId: SUBNETS.b };
    const reservations = async (...args: Parameters<typeof run>) =>
      (await run(...args)).map(({ CapacityReservationId }) => CapacityReservationId);
    expect(await reservations(at, 1, { ...inZone, ...prefer('none') })).toEqual([undefined]);
    expect(await reservations(at, 1, { ...inZone, ...SPOT })).toEqual([undefined]);
    expect(await reservations(at, 1, { SubnetId: SUBNETS.a })).toEqual([undefined]);
    expect(await refusal(run(at, 3, prefer('capacity-reservations-only')))).toBe('InsufficientInstanceCapacity 500');
    expect(await reservations(at, 3, inZone)).toEqual([id, id, undefined]);
    expect(await refusal(run(at, 1, prefer('capacity-reservations-only')))).toBe('InsufficientInstanceCapacity 500');
  });

  it('is refused to a launch of another type or zone, and to spot instances', async () => {
    const { CapacityReservationId: id } = await create(at);
    expect(await refusal(run(at, 1, { ...target(id!), InstanceType: 'g5.xlarge' }))).toBe('InvalidParameterValue 400');
    expect(await refusal(run(at, 1, { ...target(id!), SubnetId: SUBNETS.a }))).toBe('InvalidParameterValue 400');
    expect(await refusal(run(at, 1, { ...target(id!), ...SPOT }))).toBe('InvalidParameterCombination 400');
    expect(await refusal(run(at, 1, { ...target(id!), ...BLOCK }))).toBe('InvalidParameterCombination 400');
    expect(await refusal(run(at, 1, target('cr-0123456789abcdef0')))).toBe('InvalidCapacityReservationId.NotFound 400');
    expect(at.aws.left().instances).toEqual([]);
  });

  it('ends at its end date', async () => {
    const { CapacityReservationId: id } = await create(at, { EndDate: new Date(Date.now() + 4000) });
    await run(at, 1, target(id!));
    await until(async () => (await free(at, id!))[1] === 'expired');
    expect(await free(at, id!)).toEqual([0, 'expired']);
    expect(at.aws.left()).toMatchObject({ instances: [expect.any(String)], capacityReservations: [] });
  });

  it('is created once for one client token, with parameters that make sense', async () => {
    const first = await create(at, { ClientToken: 'once' });
    expect(await create(at, { ClientToken: 'once' })).toEqual(first);
    expect(await refusal(create(at, { ClientToken: 'once', InstanceCount: 1 }))).toBe(
      'IdempotentParameterMismatch 400',
    );
    expect(await refusal(create(at, { AvailabilityZone: 'eu-west-1z' }))).toBe('InvalidParameterValue 400');
    expect(await refusal(create(at, { InstanceCount: 0 }))).toBe('InvalidParameterValue 400');
    expect(await refusal(create(at, { EndDate: new Date(0) }))).toBe('InvalidParameterValue 400');
    expect(await refusal(create(at, { EndDateType: 'limited' }))).toBe('InvalidParameterCombination 400');
    expect(await list(at)).toHaveLength(1);
  });

  it('can be named by a launch template, also for a fleet', async () => {
    const { CapacityReservationId } = await create(at, { InstanceCount: 2 });
    const LaunchTemplateName = 'training';
    await at.ec2.send(
      new CreateLaunchTemplateCommand({
        LaunchTemplateName,
        LaunchTemplateData: {
          ImageId: 'ami-00000000000000005',
          InstanceType: TYPE,
          CapacityReservationSpecification: { CapacityReservationTarget: { CapacityReservationId } },
        },
      }),
    );
    const fleet = (MinTargetCapacity: number) =>
      at.ec2.send(
        new CreateFleetCommand({
          Type: 'instant',
          TargetCapacitySpecification: {
            TotalTargetCapacity: MinTargetCapacity,
            DefaultTargetCapacityType: 'on-demand',
          },
          OnDemandOptions: { SingleInstanceType: true, SingleAvailabilityZone: true, MinTargetCapacity },
          LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateName, Version: '$Latest' } }],
        }),
      );
    const refused = await fleet(3);
    expect(refused.Instances).toEqual([]);
    expect(refused.Errors).toMatchObject([{ ErrorCode: 'ReservationCapacityExceeded' }]);
    expect((await fleet(2)).Instances).toMatchObject([{ AvailabilityZone: 'eu-west-1b' }]);
    expect(await free(at, CapacityReservationId!)).toEqual([0, 'active']);
  });
});

describe('a capacity block', () => {
  let at: Fixture;
  beforeEach(async () => {
    at = await startFixture({ instances: [] });
  });
  afterEach(() => at.close());

  const offerings = async (more: Partial<DescribeCapacityBlockOfferingsCommandInput> = {}) => {
    const command = new DescribeCapacityBlockOfferingsCommand({
      InstanceType: 'p5.48xlarge',
      InstanceCount: 2,
      CapacityDurationHours: 48,
      ...more,
    });
    return (await at.ec2.send(command)).CapacityBlockOfferings!;
  };
  const buy = async (more?: Partial<DescribeCapacityBlockOfferingsCommandInput>) => {
    const [{ CapacityBlockOfferingId }] = await offerings(more);
    const command = new PurchaseCapacityBlockCommand({ CapacityBlockOfferingId, InstancePlatform: 'Linux/UNIX' });
    return (await at.ec2.send(command)).CapacityReservation!;
  };
  const p5 = (count: number, more: Partial<RunInstancesCommandInput>) =>
    run(at, count, { InstanceType: 'p5.48xlarge', ...more });

  it('is offered in the zones that have its type, and bought once', async () => {
    const [offering, ...others] = await offerings();
    expect(others).toEqual([]);
    expect(offering).toMatchObject({
      AvailabilityZone: 'eu-west-1c',
      InstanceCount: 2,
      CapacityBlockDurationHours: 48,
    });
    expect(offering.EndDate!.getTime() - offering.StartDate!.getTime()).toBe(48 * HOUR_MS);
    const purchase = () =>
      at.ec2.send(
        new PurchaseCapacityBlockCommand({
          CapacityBlockOfferingId: offering.CapacityBlockOfferingId,
          InstancePlatform: 'Linux/UNIX',
        }),
      );
    const { CapacityReservation } = await purchase();
    expect(CapacityReservation).toMatchObject({
      ReservationType: 'capacity-block',
      AvailableInstanceCount: 2,
      State: 'active',
      EndDate: offering.EndDate,
    });
    expect(await refusal(purchase())).toBe('InvalidCapacityBlockOfferingId.NotFound 400');
    for (const wrong of [{ CapacityDurationHours: 25 }, { CapacityDurationHours: 360 }, { InstanceCount: 65 }])
      expect(await refusal(offerings(wrong))).toBe('InvalidParameterValue 400');
    const { CapacityReservationId } = CapacityReservation!;
    expect(await refusal(at.ec2.send(new CancelCapacityReservationCommand({ CapacityReservationId })))).toBe(
      'OperationNotPermitted 400',
    );
  });

  it('takes the instances that name it with its market type, and no placement group', async () => {
    at.aws.capacity.add({ type: 'p5.48xlarge' });
    const id = (await buy()).CapacityReservationId!;
    await at.ec2.send(new CreatePlacementGroupCommand({ GroupName: 'nodes', Strategy: 'cluster' }));
    expect(await refusal(p5(2, target(id)))).toBe('InvalidParameterCombination 400');
    expect(await refusal(p5(2, BLOCK))).toBe('InvalidParameterCombination 400');
    expect(await refusal(p5(2, { ...target(id), ...BLOCK, Placement: { GroupName: 'nodes' } }))).toBe(
      'InvalidParameterCombination 400',
    );
    expect(await refusal(p5(3, { ...target(id), ...BLOCK }))).toBe('ReservationCapacityExceeded 400');
    const launched = await p5(2, { ...target(id), ...BLOCK });
    expect(launched).toMatchObject(Array(2).fill({ CapacityReservationId: id, InstanceLifecycle: 'capacity-block' }));
    expect(await free(at, id)).toEqual([0, 'active']);
  });

  it('has no room before it starts', async () => {
    const block = await buy({ StartDateRange: new Date(Date.now() + HOUR_MS) });
    expect(block).toMatchObject({ State: 'scheduled', AvailableInstanceCount: 0 });
    const launch = p5(1, { ...target(block.CapacityReservationId!), ...BLOCK });
    expect(await refusal(launch)).toBe('ReservationCapacityExceeded 400');
  });
});
