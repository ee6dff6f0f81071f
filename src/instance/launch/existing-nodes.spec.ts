import { StopInstancesCommand } from '@aws-sdk/client-ec2';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { LOCAL_IDENTITY } from '../../local-aws/protocol/identity';
import { startPipeline } from '../../run/pipeline.fixture';
import { until } from '../../system/until.fixture';
import { launchTagged } from '../stop/tagged.fixture';
import { Caller, CALLER, clear } from './ensure-instance.fixture';
import { assertTogether, chooseNodes } from './existing-nodes';
import { authorize, from, makeGroup } from './security-groups.fixture';

describe('instances that exist, as the nodes of a run', () => {
  let at: Fixture;
  let caller: Caller;
  const identity = { ...LOCAL_IDENTITY, deny: [] as string[] };
  beforeAll(async () => void (at = await startPipeline({ instances: [], identities: [identity] })));
  afterAll(() => at.close());
  beforeEach(() => void (caller = new Caller({ workspace: 'w', project: 'nodes', caller: CALLER })));
  afterEach(async () => {
    identity.deny.length = 0;
    caller.aws.close();
    await clear(at);
  });

  const launch = async (more: object = {}) => {
    const id = await launchTagged(at, { cluster: 'a' }, more);
    await until(() => at.aws.instances.get(id)?.state === 'running');
    return id;
  };
  const names = [{ tag: { cluster: 'a' }, all: true }];
  const choose = async (count: number, of: Parameters<typeof chooseNodes>[1] = names) =>
    (await chooseNodes(caller.aws, of, count)).map(({ id }) => id);
  const check = async (isByGpu = false) => {
    const { aws, printer } = caller;
    await assertTogether(aws, await chooseNodes(aws, names, 2), { isByGpu, printer });
    return caller.told;
  };
  it('are in the order of their ids, whatever order they are named in', async () => {
    const ids = [await launch(), await launch(), await launch()];
    const sorted = [...ids].sort();
    expect(await choose(3)).toEqual(sorted);
    const named = [...sorted].reverse().map((id) => ({ id }));
    expect(await choose(3, [...named, ...names])).toEqual(sorted);
  });

  it('are the first that Systems Manager reaches, of more than are needed', async () => {
    const sorted = [await launch(), await launch(), await launch()].sort();
    await until(async () => (await choose(2)).join() === sorted.slice(0, 2).join());
    await at.ec2.send(new StopInstancesCommand({ InstanceIds: [sorted[0]] }));
    expect(await choose(2)).toEqual(sorted.slice(1));
    // It has no role, so its agent never registers.
    const silent = await launch({ IamInstanceProfile: undefined });
    const online = sorted.slice(1);
    expect(await choose(2)).toEqual(online);
    expect(await choose(3)).toEqual([...online, silent].sort());
  });

  it('are not enough if too few run, and all are named', async () => {
    const [one, other] = [await launch(), await launch()].sort();
    await at.ec2.send(new StopInstancesCommand({ InstanceIds: [other] }));
    await until(() => at.aws.instances.get(other)?.state === 'stopped');
    await expect(choose(2)).rejects.toMatchObject({
      code: 'NODES_UNFIT',
      message: expect.stringContaining(
        `The training needs 2 nodes, and 1 of the instances tagged cluster=a runs: ${one} is running, ${other} is stopped.`,
      ),
      next: 'Start it: nx run <project>:remote-up',
    });
    await expect(choose(2, [{ id: one }, { name: 'nobody' }])).rejects.toMatchObject({ code: 'INSTANCE_MISSING' });
  });

  it('reach one another by a rule between their groups, in both directions', async () => {
    const [one, other] = [await makeGroup(at), await makeGroup(at)];
    const ids = [await launch({ SecurityGroupIds: [one] }), await launch({ SecurityGroupIds: [other] })].sort();
    await expect(check()).rejects.toMatchObject({ code: 'SECURITY_GROUP' });
    await authorize(at, one, from(other));
    const error = await check().catch((each: unknown) => each);
    expect(error).toMatchObject({
      code: 'SECURITY_GROUP',
      next: expect.stringContaining(
        `aws ec2 authorize-security-group-ingress --group-id ${other} --ip-permissions 'IpProtocol=-1,UserIdGroupPairs=[{GroupId=${one}}]'`,
      ),
    });
    for (const id of ids) expect((error as Error).message).toContain(id);
    await authorize(at, other, from(one));
    expect(await check()).toBe('');
  });

  it('are used with a warning if the caller may not look up security groups', async () => {
    await launch();
    await launch();
    identity.deny.push('ec2:DescribeSecurityGroups');
    expect(await check()).toMatch(/Whether the nodes reach one another is not known: UnauthorizedOperation/);
  });

  it('may be of several types, which is said, if their processes are not counted by GPUs that differ', async () => {
    await launch({ InstanceType: 'g5.xlarge' });
    await launch({ InstanceType: 'g5.12xlarge' });
    expect(await check()).toMatch(/The nodes are of several types: i-\w+ \(g5\.\w+\); i-\w+ \(g5\.\w+\)\. The slowest/);
    await expect(check(true)).rejects.toMatchObject({
      code: 'NODES_UNFIT',
      message: expect.stringMatching(/1 GPU \(g5\.xlarge\)|4 GPUs \(g5\.12xlarge\)/),
    });
    await clear(at);
    await launch({ InstanceType: 'g5.xlarge' });
    await launch({ InstanceType: 'g5.8xlarge' });
    expect(await check(true)).toMatch(/The slowest/);
  });

  it('may be in several zones, which is said', async () => {
    await launch({ SubnetId: 'subnet-0000000000000000a' });
    await launch({ SubnetId: 'subnet-0000000000000000b' });
    expect(await check()).toMatch(
      /The nodes are in several zones: i-\w+ \(eu-west-1[ab]\); i-\w+ \(eu-west-1[ab]\)\. Traffic/,
    );
  });
});
