import {
  CreateTagsCommand,
  DeleteTagsCommand,
  DescribeInstancesCommand,
  DescribeInstanceStatusCommand,
  DescribeTagsCommand,
  ModifyInstanceAttributeCommand,
  RunInstancesCommand,
  StartInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
  type DescribeInstancesCommandInput,
  type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2';
import { refusal, startFixture, type Fixture } from '../../local-aws.fixture';
import { until } from '../../../system/until.fixture';

async function run(at: Fixture, more: Partial<RunInstancesCommandInput> = {}): Promise<string> {
  const command = new RunInstancesCommand({ ImageId: 'ami-00000000000000001', MinCount: 1, MaxCount: 1, ...more });
  return (await at.ec2.send(command)).Instances![0].InstanceId!;
}

async function describeOne(at: Fixture, id: string) {
  const { Reservations } = await at.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
  return Reservations![0].Instances![0];
}

/** The states that an instance is told to be in, each once, until it is in the last. */
async function statesUntil(at: Fixture, id: string, last: string): Promise<string[]> {
  const states: string[] = [];
  const look = async () => {
    const { State } = await describeOne(at, id);
    if (State!.Name !== states.at(-1)) states.push(State!.Name!);
    return states.at(-1) === last;
  };
  await until(look, { everyMs: 0 });
  return states;
}

describe('the states of an instance', () => {
  let at: Fixture;
  beforeAll(async () => {
    at = await startFixture({ instances: [], boot: 2000, transition: 1000 });
  });
  afterAll(() => at.close());

  it('pass through the transitional ones, with a reason', async () => {
    const id = await run(at);
    const ids = { InstanceIds: [id] };
    expect(await statesUntil(at, id, 'running')).toEqual(['pending', 'running']);
    const { StoppingInstances } = await at.ec2.send(new StopInstancesCommand(ids));
    expect(StoppingInstances).toMatchObject([
      { CurrentState: { Code: 64, Name: 'stopping' }, PreviousState: { Code: 16, Name: 'running' } },
    ]);
    expect(await refusal(at.ec2.send(new StartInstancesCommand(ids)))).toBe('IncorrectInstanceState 400');
    expect(await statesUntil(at, id, 'stopped')).toEqual(['stopping', 'stopped']);
    expect(await describeOne(at, id)).toMatchObject({
      StateReason: {
        Code: 'Client.UserInitiatedShutdown',
        Message: 'Client.UserInitiatedShutdown: User initiated shutdown',
      },
      StateTransitionReason: expect.stringMatching(/^User initiated \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d GMT\)$/),
    });
    await at.ec2.send(new StartInstancesCommand(ids));
    expect(await statesUntil(at, id, 'running')).toEqual(['pending', 'running']);
    expect((await describeOne(at, id)).StateReason).toBeUndefined();
    await at.ec2.send(new TerminateInstancesCommand(ids));
    expect(await statesUntil(at, id, 'terminated')).toEqual(['shutting-down', 'terminated']);
    await at.ec2.send(new TerminateInstancesCommand(ids));
    expect(await refusal(at.ec2.send(new StartInstancesCommand(ids)))).toBe('IncorrectInstanceState 400');
    expect(at.aws.left()).toMatchObject({ instances: [], volumes: [] });
  });

  it('are invisible for a moment after the launch, if so configured', async () => {
    const slow = await startFixture({ instances: [], unseen: 300 });
    const id = await run(slow);
    const ask = () => refusal(slow.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] })));
    expect(await ask()).toBe('InvalidInstanceID.NotFound 400');
    expect((await slow.ec2.send(new DescribeInstancesCommand({}))).Reservations).toEqual([]);
    await until(async () => (await ask()) === null);
    await slow.close();
  });
});

describe('the instances that DescribeInstances returns', () => {
  let at: Fixture;
  let ids: string[];
  beforeAll(async () => {
    at = await startFixture({ instances: [] });
    ids = [];
    for (const [value, InstanceType] of [
      ['one', 't3.micro'],
      ['two', 'm5.large'],
      ['three', 'm5.large'],
    ] as const)
      ids.push(
        await run(at, {
          InstanceType,
          ClientToken: value,
          TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'Name', Value: value }] }],
        }),
      );
    await at.ec2.send(new StopInstancesCommand({ InstanceIds: [ids[2]] }));
  });
  afterAll(() => at.close());

  const find = async (input: DescribeInstancesCommandInput) => {
    const { Reservations, NextToken } = await at.ec2.send(new DescribeInstancesCommand(input));
    const found = Reservations!.flatMap(({ Instances }) =>
      Instances!.map(({ InstanceId }) => ids.indexOf(InstanceId!)),
    );
    return { found, NextToken };
  };
  const by = async (...filters: [string, ...string[]][]) =>
    (await find({ Filters: filters.map(([Name, ...Values]) => ({ Name, Values })) })).found;

  it('match all filters', async () => {
    expect(await by(['tag:Name', 'one', 'three'])).toEqual([0, 2]);
    expect(await by(['tag:Name', 't*'])).toEqual([1, 2]);
    expect(await by(['tag:Name', 't?o'])).toEqual([1]);
    expect(await by(['tag-key', 'Name'], ['instance-state-name', 'running'])).toEqual([0, 1]);
    expect(await by(['client-token', 'two'])).toEqual([1]);
    expect(await by(['instance-type', 'm5.*'], ['instance-state-name', 'stopped'])).toEqual([2]);
    expect(await by(['availability-zone', 'eu-west-1c'])).toEqual([]);
    expect(await refusal(by(['color', 'red']))).toBe('InvalidParameterValue 400');
  });

  it('come in pages', async () => {
    const first = await find({ MaxResults: 2 });
    expect(first.found).toEqual([0, 1]);
    expect(await find({ MaxResults: 2, NextToken: first.NextToken })).toEqual({ found: [2], NextToken: undefined });
    expect(await refusal(find({ NextToken: 'bm8=' }))).toBe('InvalidNextToken 400');
  });

  it('have a status while they run', async () => {
    const { InstanceStatuses } = await at.ec2.send(new DescribeInstanceStatusCommand({}));
    expect(InstanceStatuses!.map(({ InstanceId }) => ids.indexOf(InstanceId!))).toEqual([0, 1]);
    const all = await at.ec2.send(new DescribeInstanceStatusCommand({ IncludeAllInstances: true }));
    expect(all.InstanceStatuses).toHaveLength(3);
  });

  it('can be tagged and untagged, as volumes can', async () => {
    const volume = at.aws.left().volumes[0];
    const resources = { Resources: [ids[0], volume] };
    await at.ec2.send(new CreateTagsCommand({ ...resources, Tags: [{ Key: 'Run', Value: '7' }] }));
    const told = async () => {
      const { Tags } = await at.ec2.send(new DescribeTagsCommand({ Filters: [{ Name: 'key', Values: ['Run'] }] }));
      return Tags!.map(({ ResourceId, ResourceType, Value }) => [ResourceId, ResourceType, Value]);
    };
    expect(await told()).toEqual([
      [ids[0], 'instance', '7'],
      [volume, 'volume', '7'],
    ]);
    await at.ec2.send(new DeleteTagsCommand({ ...resources, Tags: [{ Key: 'Run', Value: 'other' }] }));
    expect(await told()).toHaveLength(2);
    await at.ec2.send(new DeleteTagsCommand({ ...resources, Tags: [{ Key: 'Run' }] }));
    expect(await told()).toEqual([]);
    const reserved = { Resources: [ids[0]], Tags: [{ Key: 'aws:x', Value: '' }] };
    expect(await refusal(at.ec2.send(new CreateTagsCommand(reserved)))).toBe('InvalidParameterValue 400');
  });

  it('can be given another shutdown behavior', async () => {
    const InstanceInitiatedShutdownBehavior = { Value: 'terminate' };
    await at.ec2.send(new ModifyInstanceAttributeCommand({ InstanceId: ids[0], InstanceInitiatedShutdownBehavior }));
    expect(at.aws.instances.get(ids[0])!.shutdownBehavior).toBe('terminate');
    const wrong = { InstanceId: ids[0], InstanceInitiatedShutdownBehavior: { Value: 'sleep' } };
    expect(await refusal(at.ec2.send(new ModifyInstanceAttributeCommand(wrong)))).toBe('InvalidParameterValue 400');
  });
});
