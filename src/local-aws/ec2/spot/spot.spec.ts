import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CancelSpotInstanceRequestsCommand,
  DescribeInstancesCommand,
  DescribeSpotInstanceRequestsCommand,
  DescribeSpotPriceHistoryCommand,
  RunInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import { metadata, NOTHING_LEFT, refusal, startFixture, type Fixture } from '../../local-aws.fixture';
import { commandsOf } from '../../ssm/commands.fixture';
import { until } from '../../../system/until.fixture';

async function launchSpot(at: Fixture): Promise<{ id: string; request: string }> {
  const { Instances } = await at.ec2.send(
    new RunInstancesCommand({
      ImageId: 'ami-00000000000000005',
      InstanceType: 'g4dn.xlarge',
      MinCount: 1,
      MaxCount: 1,
      IamInstanceProfile: { Name: 'training' },
      InstanceMarketOptions: {
        MarketType: 'spot',
        SpotOptions: { SpotInstanceType: 'one-time', InstanceInterruptionBehavior: 'terminate' },
      },
      TagSpecifications: [{ ResourceType: 'spot-instances-request', Tags: [{ Key: 'Team', Value: 'vision' }] }],
    }),
  );
  expect(Instances![0].InstanceLifecycle).toBe('spot');
  return { id: Instances![0].InstanceId!, request: Instances![0].SpotInstanceRequestId! };
}

async function requestOf(at: Fixture, id: string) {
  const command = new DescribeSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [id] });
  const { State, Status, InstanceId, Tags } = (await at.ec2.send(command)).SpotInstanceRequests![0];
  return { State, Code: Status!.Code, InstanceId, Tags };
}

async function stateOf(at: Fixture, id: string) {
  const { Reservations } = await at.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
  return Reservations![0].Instances![0];
}

describe('a spot instance', () => {
  let at: Fixture;
  beforeAll(async () => {
    at = await startFixture({ instances: [] });
  });
  afterAll(() => at.close());

  it('has a request, which closes when it is terminated', async () => {
    const { id, request } = await launchSpot(at);
    expect(await requestOf(at, request)).toEqual({
      State: 'active',
      Code: 'fulfilled',
      InstanceId: id,
      Tags: [{ Key: 'Team', Value: 'vision' }],
    });
    expect(await metadata(at, id, 'instance-life-cycle')).toBe('spot');
    expect(await refusal(at.ec2.send(new StopInstancesCommand({ InstanceIds: [id] })))).toBe(
      'UnsupportedOperation 400',
    );
    expect(at.aws.left().spotRequests).toEqual([request]);
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    expect(await requestOf(at, request)).toMatchObject({ State: 'closed', Code: 'instance-terminated-by-user' });
    expect(at.aws.left()).toEqual(NOTHING_LEFT);
  });

  it('keeps running when its request is cancelled', async () => {
    const { id, request } = await launchSpot(at);
    const { CancelledSpotInstanceRequests } = await at.ec2.send(
      new CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [request] }),
    );
    expect(CancelledSpotInstanceRequests).toEqual([{ SpotInstanceRequestId: request, State: 'cancelled' }]);
    expect(await requestOf(at, request)).toMatchObject({ Code: 'request-canceled-and-instance-running' });
    expect((await stateOf(at, id)).State!.Name).toBe('running');
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    expect((await requestOf(at, request)).State).toBe('cancelled');
    const missing = new CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: ['sir-00000000'] });
    expect(await refusal(at.ec2.send(missing))).toBe('InvalidSpotInstanceRequestID.NotFound 400');
  });

  it('is terminated after an interruption notice', async () => {
    const { id, request } = await launchSpot(at);
    expect(await metadata(at, id, 'spot/instance-action')).toBeNull();
    at.aws.recommendRebalance(id);
    expect(JSON.parse((await metadata(at, id, 'events/recommendations/rebalance'))!)).toHaveProperty('noticeTime');
    at.aws.interrupt(id, { noticeMs: 1500 });
    const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(JSON.parse((await metadata(at, id, 'spot/instance-action'))!)).toEqual({ action: 'terminate', time });
    expect(await metadata(at, id, 'spot/termination-time')).toEqual(time);
    expect(await requestOf(at, request)).toMatchObject({ State: 'active', Code: 'marked-for-termination' });
    expect((await stateOf(at, id)).State!.Name).toBe('running');
    await until(async () => (await stateOf(at, id)).State!.Name === 'terminated');
    expect((await stateOf(at, id)).StateReason!.Code).toBe('Server.SpotInstanceTermination');
    expect(await requestOf(at, request)).toMatchObject({ State: 'closed', Code: 'instance-terminated-no-capacity' });
  });

  it('of several that were launched together is interrupted alone: the others continue', async () => {
    const { Instances } = await at.ec2.send(
      new RunInstancesCommand({
        ImageId: 'ami-00000000000000005',
        InstanceType: 'g4dn.xlarge',
        MinCount: 3,
        MaxCount: 3,
        IamInstanceProfile: { Name: 'training' },
        InstanceMarketOptions: { MarketType: 'spot' },
      }),
    );
    const ids = Instances!.map(({ InstanceId }) => InstanceId!);
    const [first, lost, last] = ids;
    const shells = ids.map((id) => commandsOf(at, id));
    await Promise.all(shells.map(({ run }) => run('setsid sleep 600 >/dev/null 2>&1 &')));
    const processes = ids.map((id) => at.aws.instances.processes(id));
    expect(processes.map(({ length }) => length)).toEqual([1, 1, 1]);
    at.aws.interrupt(lost, { noticeMs: 2500 });
    const notices = await Promise.all(ids.map((id) => metadata(at, id, 'spot/instance-action')));
    expect(notices.map((notice) => notice !== null)).toEqual([false, true, false]);
    await until(async () => (await stateOf(at, lost)).State!.Name === 'terminated');
    const { Reservations } = await at.ec2.send(new DescribeInstancesCommand({ InstanceIds: [first, last] }));
    expect(Reservations![0].Instances).toMatchObject([
      { InstanceId: first, AmiLaunchIndex: 0, State: { Name: 'running' } },
      { InstanceId: last, AmiLaunchIndex: 2, State: { Name: 'running' } },
    ]);
    expect(ids.map((id) => at.aws.instances.processes(id))).toEqual([processes[0], [], processes[2]]);
    expect(await shells[2].run('exit 0')).toMatchObject({ Status: 'Success' });
    const requests = Instances!.map(({ SpotInstanceRequestId }) => SpotInstanceRequestId!);
    expect(
      (await Promise.all(requests.map((id) => requestOf(at, id)))).map(({ State, Code }) => [State, Code]),
    ).toEqual([
      ['active', 'fulfilled'],
      ['closed', 'instance-terminated-no-capacity'],
      ['active', 'fulfilled'],
    ]);
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [first, last] }));
  });

  it('is interrupted also after a restart of local AWS', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-spot-'));
    const first = await startFixture({ directory, instances: [] });
    const { id, request } = await launchSpot(first);
    first.aws.interrupt(id, { noticeMs: 300 });
    await first.close();
    const second = await startFixture({ directory, instances: [] });
    await until(async () => (await stateOf(second, id)).State!.Name === 'terminated');
    expect((await requestOf(second, request)).State).toBe('closed');
    expect(second.aws.left()).toMatchObject({ volumes: [], spotRequests: [] });
    await second.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('is interrupted some time after its launch if that is planned for its type', async () => {
    const other = { type: 't3.micro', times: 9 };
    const planned = await startFixture({ instances: [], interruptions: [other, { index: 0, after: 50, notice: 50 }] });
    const { id } = await launchSpot(planned);
    await until(async () => (await stateOf(planned, id)).State!.Name === 'terminated');
    const { id: next } = await launchSpot(planned);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(planned.aws.instances.get(next)!.interruption).toBeUndefined();
    await planned.close();
  });

  it('has a price in each zone that offers its type', async () => {
    const now = new Date();
    const { SpotPriceHistory } = await at.ec2.send(
      new DescribeSpotPriceHistoryCommand({
        InstanceTypes: ['g5.xlarge'],
        ProductDescriptions: ['Linux/UNIX'],
        StartTime: now,
        EndTime: now,
      }),
    );
    expect(SpotPriceHistory!.map(({ AvailabilityZone, SpotPrice }) => [AvailabilityZone, SpotPrice])).toEqual([
      ['eu-west-1a', '0.446300'],
      ['eu-west-1b', '0.468615'],
    ]);
    expect(SpotPriceHistory![0].Timestamp!.getTime()).toBeLessThanOrEqual(now.getTime());
  });
});
