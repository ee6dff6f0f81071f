import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateFleetCommand,
  CreateLaunchTemplateCommand,
  CreatePlacementGroupCommand,
  DeletePlacementGroupCommand,
  DescribeInstancesCommand,
  DescribeInstanceTypesCommand,
  DescribePlacementGroupsCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
  type CreatePlacementGroupCommandInput,
  type DescribePlacementGroupsCommandInput,
  type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2';
import { LOCAL_IDENTITY } from '../../protocol/identity';
import { refusal, startFixture, type Fixture } from '../../local-aws.fixture';
import { until } from '../../../system/until.fixture';

const SUBNETS = { a: 'subnet-0000000000000000a', b: 'subnet-0000000000000000b' };

describe('cluster placement groups', () => {
  let at: Fixture;
  const identity = { ...LOCAL_IDENTITY, deny: [] as string[] };
  beforeEach(async () => {
    at = await startFixture({ instances: [], identities: [identity] });
  });
  afterEach(() => at.close());

  const create = async (more: Partial<CreatePlacementGroupCommandInput> = {}) => {
    const command = new CreatePlacementGroupCommand({ GroupName: 'nodes', Strategy: 'cluster', ...more });
    return (await at.ec2.send(command)).PlacementGroup!;
  };
  const list = async (input: DescribePlacementGroupsCommandInput = {}) =>
    (await at.ec2.send(new DescribePlacementGroupsCommand(input))).PlacementGroups!;
  const remove = (GroupName = 'nodes') => at.ec2.send(new DeletePlacementGroupCommand({ GroupName }));
  const run = async (more: Partial<RunInstancesCommandInput> = {}) => {
    const command = new RunInstancesCommand({
      ImageId: 'ami-00000000000000001',
      InstanceType: 'c5.xlarge',
      MinCount: 1,
      MaxCount: 1,
      Placement: { GroupName: 'nodes' },
      ...more,
    });
    return (await at.ec2.send(command)).Instances!;
  };
  const terminate = (...instances: { InstanceId?: string }[]) =>
    at.ec2.send(new TerminateInstancesCommand({ InstanceIds: instances.map(({ InstanceId }) => InstanceId!) }));
  const zonesOf = (instances: { Placement?: { AvailabilityZone?: string } }[]) =>
    instances.map(({ Placement }) => Placement!.AvailabilityZone);

  it('are created with tags, described, and deleted', async () => {
    const Tags = [{ Key: 'nx-ec2:run', Value: '7' }];
    const group = await create({ TagSpecifications: [{ ResourceType: 'placement-group', Tags }] });
    expect(group).toMatchObject({
      GroupName: 'nodes',
      GroupId: expect.stringMatching(/^pg-[0-9a-f]{17}$/),
      GroupArn: 'arn:aws:ec2:eu-west-1:000000000000:placement-group/nodes',
      Strategy: 'cluster',
      State: 'available',
      Tags,
    });
    await create({ GroupName: 'others' });
    expect(await list({ GroupNames: ['nodes'] })).toEqual([group]);
    expect(await list({ GroupIds: [group.GroupId!] })).toEqual([group]);
    expect(await list({ Filters: [{ Name: 'tag:nx-ec2:run', Values: ['7'] }] })).toEqual([group]);
    expect(at.aws.left().placementGroups).toHaveLength(2);
    await remove();
    await remove('others');
    expect(at.aws.left().placementGroups).toEqual([]);
    expect(await refusal(remove())).toBe('InvalidPlacementGroup.Unknown 400');
    expect(await refusal(list({ GroupNames: ['nodes'] }))).toBe('InvalidPlacementGroup.Unknown 400');
    expect(await list()).toEqual([]);
  });

  it('are refused under a name that exists, with another strategy, and without a permission for tags', async () => {
    await create();
    expect(await refusal(create())).toBe('InvalidPlacementGroup.Duplicate 400');
    const names = { long: 'x'.repeat(256), other: 'é' };
    for (const GroupName of Object.values(names))
      expect(await refusal(create({ GroupName }))).toBe('InvalidParameterValue 400');
    expect(await refusal(create({ GroupName: 'x', Strategy: 'spread' }))).toBe('UnsupportedOperation 400');
    identity.deny.push('ec2:CreateTags');
    const TagSpecifications = [{ ResourceType: 'placement-group' as const, Tags: [{ Key: 'a', Value: 'b' }] }];
    expect(await refusal(create({ GroupName: 'tagged', TagSpecifications }))).toBe('UnauthorizedOperation 403');
    identity.deny.length = 0;
  });

  it('have their instances in one zone, while there are any', async () => {
    const { GroupId } = await create();
    const first = await run({ SubnetId: SUBNETS.b, MinCount: 2, MaxCount: 2 });
    expect(first.map(({ Placement }) => Placement)).toEqual(
      Array(2).fill({ AvailabilityZone: 'eu-west-1b', GroupName: 'nodes', GroupId, Tenancy: 'default' }),
    );
    expect(await refusal(run({ SubnetId: SUBNETS.a }))).toBe('InvalidPlacementGroup.InUse 400');
    const second = await run({ Placement: { GroupId } });
    expect(zonesOf(second)).toEqual(['eu-west-1b']);
    const Filters = [{ Name: 'placement-group-name', Values: ['nodes'] }];
    const { Reservations } = await at.ec2.send(new DescribeInstancesCommand({ Filters }));
    expect(Reservations!.flatMap(({ Instances }) => Instances)).toHaveLength(3);
    await terminate(...first, ...second);
    expect(zonesOf(await run({ SubnetId: SUBNETS.a }))).toEqual(['eu-west-1a']);
  });

  it('do not take burstable types, and no launch names a group that does not exist', async () => {
    await create();
    expect(await refusal(run({ InstanceType: 't3.micro' }))).toBe('InvalidParameterCombination 400');
    expect(await refusal(run({ Placement: { GroupName: 'none' } }))).toBe('InvalidPlacementGroup.Unknown 400');
    expect(at.aws.left().instances).toEqual([]);
    const { InstanceTypes } = await at.ec2.send(
      new DescribeInstanceTypesCommand({ InstanceTypes: ['t3.micro', 'c5.xlarge'] }),
    );
    const strategies = InstanceTypes!.map(({ PlacementGroupInfo }) => PlacementGroupInfo!.SupportedStrategies);
    expect(strategies).toEqual([
      ['partition', 'spread'],
      ['cluster', 'partition', 'spread'],
    ]);
  });

  it('can be named by a launch template, and hold a fleet in one zone', async () => {
    await create();
    const LaunchTemplateName = 'training';
    await at.ec2.send(
      new CreateLaunchTemplateCommand({
        LaunchTemplateName,
        LaunchTemplateData: { ImageId: 'ami-00000000000000001', Placement: { GroupName: 'nodes' } },
      }),
    );
    at.aws.capacity.add({ zone: 'eu-west-1a', instances: 1 });
    const fleet = (count: number) =>
      at.ec2.send(
        new CreateFleetCommand({
          Type: 'instant',
          TargetCapacitySpecification: { TotalTargetCapacity: count, DefaultTargetCapacityType: 'spot' },
          LaunchTemplateConfigs: [
            {
              LaunchTemplateSpecification: { LaunchTemplateName, Version: '$Latest' },
              Overrides: [SUBNETS.a, SUBNETS.b].map((SubnetId) => ({ InstanceType: 'c5.xlarge', SubnetId })),
            },
          ],
        }),
      );
    const made = await fleet(3);
    expect(made.Instances).toMatchObject([{ AvailabilityZone: 'eu-west-1b', InstanceIds: { length: 3 } }]);
    const again = await fleet(1);
    expect(again.Instances).toMatchObject([{ AvailabilityZone: 'eu-west-1b' }]);
    expect(again.Errors).toMatchObject([{ ErrorCode: 'InvalidPlacementGroup.InUse' }]);
  });

  it('can be deleted only after their instances are terminated, also after a restart', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-placement-'));
    const first = await startFixture({ directory, instances: [], transition: 1500 });
    await first.ec2.send(new CreatePlacementGroupCommand({ GroupName: 'nodes', Strategy: 'cluster' }));
    const { Instances } = await first.ec2.send(
      new RunInstancesCommand({
        ImageId: 'ami-00000000000000001',
        InstanceType: 'c5.xlarge',
        MinCount: 1,
        MaxCount: 1,
        Placement: { GroupName: 'nodes' },
      }),
    );
    await first.close();
    const second = await startFixture({ directory, instances: [], transition: 1500 });
    const removeHere = () => refusal(second.ec2.send(new DeletePlacementGroupCommand({ GroupName: 'nodes' })));
    expect(await removeHere()).toBe('InvalidPlacementGroup.InUse 400');
    const InstanceIds = [Instances![0].InstanceId!];
    await second.ec2.send(new TerminateInstancesCommand({ InstanceIds }));
    const refusals: (string | null)[] = [];
    await until(async () => refusals[refusals.push(await removeHere()) - 1] === null);
    expect(new Set(refusals)).toEqual(new Set(['InvalidPlacementGroup.InUse 400', null]));
    await second.ec2.send(new DescribeInstancesCommand({ InstanceIds }));
    await second.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('are pending for a moment, if so configured, in which no instance can be launched into them', async () => {
    const slow = await startFixture({ instances: [], unseen: 1500 });
    const { PlacementGroup } = await slow.ec2.send(
      new CreatePlacementGroupCommand({ GroupName: 'nodes', Strategy: 'cluster' }),
    );
    expect(PlacementGroup!.State).toBe('pending');
    const launch = () =>
      refusal(
        slow.ec2.send(
          new RunInstancesCommand({
            ImageId: 'ami-00000000000000001',
            InstanceType: 'c5.xlarge',
            MinCount: 1,
            MaxCount: 1,
            Placement: { GroupName: 'nodes' },
          }),
        ),
      );
    expect(await launch()).toBe('InvalidPlacementGroup.Unknown 400');
    await until(async () => (await launch()) === null);
    await slow.close();
  });
});
