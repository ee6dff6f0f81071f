import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateFleetCommand,
  CreateLaunchTemplateCommand,
  DeleteFleetsCommand,
  DescribeFleetInstancesCommand,
  DescribeFleetsCommand,
  DescribeInstancesCommand,
  TerminateInstancesCommand,
  type CreateFleetCommandInput,
} from '@aws-sdk/client-ec2';
import { refusal, startFixture, type Fixture } from '../../local-aws.fixture';
import { until } from '../../../system/until.fixture';

async function template(at: Fixture): Promise<void> {
  await at.ec2.send(
    new CreateLaunchTemplateCommand({
      LaunchTemplateName: 'training',
      LaunchTemplateData: {
        ImageId: 'ami-00000000000000005',
        InstanceType: 'g4dn.xlarge',
        IamInstanceProfile: { Name: 'training' },
        TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'Run', Value: '7' }] }],
      },
    }),
  );
}

async function create(at: Fixture, more: Partial<CreateFleetCommandInput> = {}) {
  return at.ec2.send(
    new CreateFleetCommand({
      Type: 'maintain',
      TargetCapacitySpecification: { TotalTargetCapacity: 1, DefaultTargetCapacityType: 'spot' },
      LaunchTemplateConfigs: [
        {
          LaunchTemplateSpecification: { LaunchTemplateName: 'training', Version: '$Latest' },
          Overrides: [{ InstanceType: 'g5.xlarge' }, { InstanceType: 'g4dn.xlarge' }],
        },
      ],
      ...more,
    }),
  );
}

async function active(at: Fixture, FleetId: string): Promise<string[]> {
  const { ActiveInstances } = await at.ec2.send(new DescribeFleetInstancesCommand({ FleetId }));
  return ActiveInstances!.map(({ InstanceId }) => InstanceId!);
}

async function fleetOf(at: Fixture, id: string) {
  return (await at.ec2.send(new DescribeFleetsCommand({ FleetIds: [id] }))).Fleets![0];
}

const nothing = { instances: [], volumes: [], spotRequests: [], fleets: [] };

describe('a fleet', () => {
  let at: Fixture;
  beforeEach(async () => {
    at = await startFixture({ instances: [] });
    await template(at);
  });
  afterEach(() => at.close());

  it('of type instant launches the cheapest available type, and reports the errors of the others', async () => {
    at.aws.capacity.add({ type: 'g4dn.xlarge', market: 'spot' });
    const made = await create(at, {
      Type: 'instant',
      TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'Owner', Value: 'me' }] }],
    });
    expect(made.Errors).toMatchObject([
      {
        ErrorCode: 'InsufficientInstanceCapacity',
        Lifecycle: 'spot',
        LaunchTemplateAndOverrides: { Overrides: { InstanceType: 'g4dn.xlarge' } },
      },
    ]);
    expect(made.Instances).toMatchObject([{ InstanceType: 'g5.xlarge', Lifecycle: 'spot' }]);
    const id = made.Instances![0].InstanceIds![0];
    const { Reservations } = await at.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
    expect(Reservations![0].Instances![0].Tags).toEqual([
      { Key: 'Run', Value: '7' },
      { Key: 'Owner', Value: 'me' },
      { Key: 'aws:ec2:fleet-id', Value: made.FleetId },
    ]);
    expect((await at.ec2.send(new DescribeFleetsCommand({}))).Fleets).toEqual([]);
    expect((await fleetOf(at, made.FleetId!)).Instances).toMatchObject([{ InstanceIds: [id] }]);
    const kept = await at.ec2.send(new DeleteFleetsCommand({ FleetIds: [made.FleetId!], TerminateInstances: false }));
    expect(kept.UnsuccessfulFleetDeletions).toMatchObject([{ Error: { Code: 'fleetNotInDeletableState' } }]);
    await at.ec2.send(new DeleteFleetsCommand({ FleetIds: [made.FleetId!], TerminateInstances: true }));
    expect(at.aws.left()).toMatchObject(nothing);
  });

  it('of type instant exists without instances if every launch was refused', async () => {
    at.aws.capacity.add({ market: 'spot' });
    const made = await create(at, { Type: 'instant', ClientToken: 'none' });
    expect(made.Errors).toHaveLength(2);
    expect(made.Instances).toEqual([]);
    expect((await create(at, { Type: 'instant', ClientToken: 'none' })).FleetId).toBe(made.FleetId);
    expect(await refusal(create(at, { Type: 'maintain', ClientToken: 'none' }))).toBe(
      'IdempotentParameterMismatch 400',
    );
    expect(at.aws.left()).toMatchObject(nothing);
  });

  it('of type maintain replaces instances that were interrupted or terminated, until it is deleted', async () => {
    const FleetId = (await create(at)).FleetId!;
    const [first] = await active(at, FleetId);
    expect(await fleetOf(at, FleetId)).toMatchObject({ FleetState: 'active', ActivityStatus: 'fulfilled' });
    at.aws.interrupt(first, { noticeMs: 50 });
    await until(async () => (await active(at, FleetId)).some((id) => id !== first));
    const [second] = await active(at, FleetId);
    at.aws.capacity.add({ market: 'spot', times: 2 });
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [second] }));
    await until(async () => (await active(at, FleetId)).length === 1);
    expect(at.aws.left().fleets).toEqual([FleetId]);
    const deleted = await at.ec2.send(new DeleteFleetsCommand({ FleetIds: [FleetId], TerminateInstances: true }));
    expect(deleted.SuccessfulFleetDeletions).toMatchObject([
      { FleetId, CurrentFleetState: 'deleted_terminating', PreviousFleetState: 'active' },
    ]);
    expect((await fleetOf(at, FleetId)).FleetState).toBe('deleted');
    expect(at.aws.left()).toMatchObject(nothing);
  });

  it('that is deleted without its instances leaves them running', async () => {
    const FleetId = (await create(at)).FleetId!;
    await at.ec2.send(new DeleteFleetsCommand({ FleetIds: [FleetId], TerminateInstances: false }));
    expect((await fleetOf(at, FleetId)).FleetState).toBe('deleted_running');
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: await active(at, FleetId) }));
    expect((await fleetOf(at, FleetId)).FleetState).toBe('deleted');
    expect(at.aws.left()).toMatchObject(nothing);
  });

  it('expires with its instances, also after a restart of local AWS', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-fleet-'));
    const first = await startFixture({ directory, instances: [] });
    await template(first);
    const ValidUntil = new Date(Date.now() + 3_000);
    const FleetId = (await create(first, { ValidUntil, TerminateInstancesWithExpiration: true })).FleetId!;
    const before = await active(first, FleetId);
    expect(before).toHaveLength(1);
    await first.close();
    const second = await startFixture({ directory, instances: [] });
    await until(async () => (await fleetOf(second, FleetId)).FleetState === 'deleted');
    expect(Date.now()).toBeGreaterThanOrEqual(Math.floor(ValidUntil.getTime() / 1000) * 1000);
    expect(second.aws.left()).toMatchObject({ ...nothing, launchTemplates: [expect.any(String)] });
    await second.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('is refused if its parameters contradict each other', async () => {
    expect(await refusal(create(at, { Type: 'instant', TerminateInstancesWithExpiration: true }))).toBe(
      'InvalidParameterCombination 400',
    );
    expect(await refusal(create(at, { ValidUntil: new Date(0) }))).toBe('InvalidParameterValue 400');
    const tags = [{ ResourceType: 'instance' as const, Tags: [{ Key: 'a', Value: 'b' }] }];
    expect(await refusal(create(at, { TagSpecifications: tags }))).toBe('InvalidParameterValue 400');
    const LaunchTemplateConfigs = [{ LaunchTemplateSpecification: { LaunchTemplateName: 'none', Version: '1' } }];
    expect(await refusal(create(at, { LaunchTemplateConfigs }))).toBe(
      'InvalidLaunchTemplateName.NotFoundException 400',
    );
    expect(at.aws.left().fleets).toEqual([]);
  });
});
