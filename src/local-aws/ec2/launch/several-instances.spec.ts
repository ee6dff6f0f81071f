import {
  DescribeInstancesCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
  type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2';
import { metadata, refusal, startFixture, type Fixture } from '../../local-aws.fixture';

describe('RunInstances of several instances', () => {
  let at: Fixture;
  beforeAll(async () => {
    at = await startFixture({ instances: [] });
  });
  afterAll(() => at.close());
  afterEach(() => at.aws.capacity.clear());

  const run = async (more: Partial<RunInstancesCommandInput>) => {
    const command = new RunInstancesCommand({ ImageId: 'ami-00000000000000003', MinCount: 1, MaxCount: 1, ...more });
    return (await at.ec2.send(command)).Instances!;
  };
  /** Code and message. */
  const refused = async (more: Partial<RunInstancesCommandInput>) =>
    run(more).then(
      () => null,
      (error: Error) => `${error.name}: ${error.message}`,
    );
  const g5 = { InstanceType: 'g5.xlarge', SubnetId: 'subnet-0000000000000000b' } as const;
  const spot = { InstanceMarketOptions: { MarketType: 'spot' } } as const;
  const idsOf = (instances: { InstanceId?: string }[]) => instances.map(({ InstanceId }) => InstanceId!);
  const terminate = (ids: string[]) => at.ec2.send(new TerminateInstancesCommand({ InstanceIds: ids }));

  it('numbers them by AmiLaunchIndex, which each reads from its metadata', async () => {
    const launched = await run({ ...g5, MinCount: 3, MaxCount: 3, ClientToken: 'indexes' });
    expect(launched.map(({ AmiLaunchIndex }) => AmiLaunchIndex)).toEqual([0, 1, 2]);
    const { Reservations } = await at.ec2.send(new DescribeInstancesCommand({ InstanceIds: idsOf(launched) }));
    expect(Reservations).toHaveLength(1);
    expect(Reservations![0].Instances).toEqual(launched);
    const read = ({ InstanceId }: { InstanceId?: string }) => metadata(at, InstanceId!, 'ami-launch-index');
    expect(await Promise.all(launched.map(read))).toEqual(['0', '1', '2']);
    expect(await run({ ...g5, MinCount: 3, MaxCount: 3, ClientToken: 'indexes' })).toEqual(launched);
    await terminate(idsOf(launched));
  });

  it.each([
    ['on-demand', {}],
    ['spot', spot],
  ] as const)('launches what fits between MinCount and MaxCount, and none below MinCount: %s', async (market, more) => {
    at.aws.capacity.add({ type: 'g5.xlarge', zone: 'eu-west-1b', market, instances: 3 });
    const before = at.aws.left();
    expect(await refused({ ...g5, ...more, MinCount: 4, MaxCount: 4 })).toMatch(/^InsufficientInstanceCapacity: /);
    expect(at.aws.left()).toEqual(before);
    const launched = idsOf(await run({ ...g5, ...more, MinCount: 2, MaxCount: 4 }));
    expect(launched).toHaveLength(3);
    expect(await refused({ ...g5, ...more })).toMatch(/^InsufficientInstanceCapacity: /);
    expect(await refused({ ...g5, ...more, InstanceType: 'g5.12xlarge' })).toBeNull();
    await terminate(launched.slice(0, 2));
    const again = idsOf(await run({ ...g5, ...more, MinCount: 2, MaxCount: 2 }));
    expect(again).toHaveLength(2);
    await terminate([launched[2], ...again]);
  });

  it('puts all of them in one zone, one that has capacity for all if there is one', async () => {
    at.aws.capacity.add({ type: 'c5.xlarge', zone: 'eu-west-1a', instances: 1 });
    at.aws.capacity.add({ type: 'c5.xlarge', zone: 'eu-west-1b', instances: 2 });
    const zones = async (count: Pick<RunInstancesCommandInput, 'MinCount' | 'MaxCount'>) =>
      (await run({ InstanceType: 'c5.xlarge', ...count })).map(({ Placement }) => Placement!.AvailabilityZone);
    expect(await zones({ MinCount: 3, MaxCount: 3 })).toEqual(Array(3).fill('eu-west-1c'));
    at.aws.capacity.add({ type: 'c5.xlarge', zone: 'eu-west-1c' });
    expect(await zones({ MinCount: 1, MaxCount: 3 })).toEqual(['eu-west-1b', 'eu-west-1b']);
    expect(await refused({ InstanceType: 'c5.xlarge', MinCount: 2, MaxCount: 2 })).toMatch(
      /^InsufficientInstanceCapacity: .* in the region/,
    );
  });

  it('launches none if MaxCount exceeds a quota', async () => {
    at.aws.capacity.add({ type: 'p3.2xlarge', code: 'VcpuLimitExceeded', instances: 2 });
    const p3 = { InstanceType: 'p3.2xlarge', MinCount: 1 } as const;
    expect(await refused({ ...p3, MaxCount: 3 })).toMatch(/^VcpuLimitExceeded: /);
    expect(await run({ ...p3, MaxCount: 2 })).toHaveLength(2);
  });

  it('meets the limits that local AWS was started with', async () => {
    const limited = await startFixture({ instances: [], capacity: [{ type: 'g5.xlarge', instances: 2 }] });
    const launch = (MinCount: number) =>
      limited.ec2.send(
        new RunInstancesCommand({
          ImageId: 'ami-00000000000000003',
          InstanceType: 'g5.xlarge',
          MinCount,
          MaxCount: 3,
        }),
      );
    expect(await refusal(launch(3))).toBe('InsufficientInstanceCapacity 500');
    expect((await launch(1)).Instances).toHaveLength(2);
    await limited.close();
  });
});
