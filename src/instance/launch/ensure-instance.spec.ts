import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DescribeInstancesCommand,
  DescribeVolumesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { LOCAL_IDENTITY } from '../../local-aws/protocol/identity';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { startPipeline } from '../../run/pipeline.fixture';
import { ensureInstance } from './ensure-instance';
import { Caller, CALLER, clear, launchSpecOf } from './ensure-instance.fixture';
import { specHash, TAG } from '../describe/ownership';
import type { EnsureOptions } from './options';

let project = 0;

describe('a launched instance', () => {
  let at: Fixture;
  let caller: Caller;
  const memory = mkdtempSync(join(tmpdir(), 'nx-ec2-memory-'));
  const identity = { ...LOCAL_IDENTITY, deny: [] as string[] };
  beforeAll(async () => {
    at = await startPipeline({ instances: [], identities: [identity] });
    process.env.NX_EC2_CACHE_DIRECTORY = memory;
  });
  afterAll(async () => {
    await at.close();
    rmSync(memory, { recursive: true, force: true });
  });
  beforeEach(() => {
    caller = new Caller({ workspace: 'work space', project: `vision ${++project}`, caller: CALLER });
  });
  it.each([
    ['the account gives it no role', []],
    ['it is not known whether the account does', ['ssm:GetServiceSetting']],
  ])('is not launched without an instance profile if %s', async (_, deny) => {
    identity.deny.push(...deny);
    const before = at.aws.instances.all().length;
    await expect(ensureInstance(caller.options(launchSpecOf({ instanceProfile: undefined })))).rejects.toMatchObject({
      code: 'NO_PROFILE',
      message: expect.stringMatching(/"instanceProfile": "<name>"[^]*nx g nx-ec2:aws-setup/),
    });
    expect(at.aws.instances.all()).toHaveLength(before);
  });

  afterEach(async () => {
    identity.deny.length = 0;
    caller.aws.close();
    await clear(at);
  });

  const up = (launchSpec: LaunchSpec, more: Partial<EnsureOptions> = {}) =>
    ensureInstance(caller.options(launchSpec, { timeouts: { profile: 5_000, sure: 2_000 }, ...more }));
  const describeOne = async (id: string) =>
    (await at.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))).Reservations![0].Instances![0];

  it('is launched as the launch spec says: IMDSv2, an encrypted gp3 disk on the image’s own root, tags, no public address', async () => {
    const launchSpec = launchSpecOf({ tags: { Team: 'vision' }, userData: '#!/bin/sh\ntrue', maxLifetime: '2h' });
    const made = await up(launchSpec, { pricePerHour: 0.5, prefix: 'team/' });
    expect(made).toMatchObject({ how: 'launched', type: 't3.micro', zone: 'eu-west-1a', market: 'on-demand' });
    expect(made.price).toMatchObject({ perHour: 0.5, source: 'configured' });
    const found = await describeOne(made.id);
    expect(found).toMatchObject({
      ImageId: 'ami-00000000000000001',
      MetadataOptions: { HttpTokens: 'required' },
      IamInstanceProfile: { Arn: expect.stringMatching(/instance-profile\/training$/) },
    });
    expect(found.PublicIpAddress).toBeUndefined();
    expect(found.SpotInstanceRequestId).toBeUndefined();
    const tags = Object.fromEntries(found.Tags!.map(({ Key, Value }) => [Key, Value]));
    expect(tags).toEqual({
      Name: `nx-ec2 vision ${project}`,
      Team: 'vision',
      [TAG.managed]: 'true',
      [TAG.finish]: 'terminate - -',
      [TAG.key]: specHash(caller.owner, launchSpec),
      [TAG.workspace]: 'work space',
      [TAG.project]: `vision ${project}`,
      [TAG.owner]: CALLER,
      [TAG.store]: 'bucket/team/',
      [TAG.by]: 'remote-up',
      [TAG.price]: expect.stringMatching(/^0\.5 on-demand eu-west-1\w? \d{4}-\d\d-\d\d configured$/),
      [TAG.lifetime]: '7200',
      [TAG.idle]: '3600',
    });
    expect(made.tags).toEqual(tags);
    expect(at.aws.instances.get(made.id)).toMatchObject({ shutdownBehavior: 'terminate' });
    const { Volumes } = await at.ec2.send(
      new DescribeVolumesCommand({ Filters: [{ Name: 'attachment.instance-id', Values: [made.id] }] }),
    );
    expect(Volumes).toMatchObject([
      {
        Size: 50,
        VolumeType: 'gp3',
        Encrypted: true,
        Attachments: [{ Device: '/dev/xvda', DeleteOnTermination: true }],
      },
    ]);
    expect(Object.fromEntries(Volumes![0].Tags!.map(({ Key, Value }) => [Key, Value]))).toEqual(tags);
    expect(caller.told).toMatch(
      /^Launching t3\.micro in eu-west-1a: \$0\.50 an hour \(.*\), at most \$1\.00; it shuts down after at most 2h 00m, or 1h 00m idle\.\nLaunched i-/,
    );
  });

  it('has the settings of a training: its run, what happens after it, and whether it stops or terminates', async () => {
    const run = '20261125-101010-vision-abcdef';
    const launchSpec = launchSpecOf({ onFinish: { success: 'stop', failure: 'keep 30m' }, idleTimeout: false });
    const { tags, id, deadline } = await up(launchSpec, { by: 'remote-train', run });
    expect(tags).toMatchObject({ [TAG.run]: run, [TAG.by]: 'remote-train', [TAG.finish]: 'stop 0 1800' });
    expect(tags[TAG.idle]).toBeUndefined();
    expect(tags[TAG.price]).toMatch(/^0\.0101 on-demand eu-west-1 .* pricing$/);
    // It is the run's only one.
    expect([deadline, tags[TAG.deadline]]).toEqual([null, undefined]);
    expect(at.aws.instances.get(id)!.shutdownBehavior).toBe('stop');
  });

  it('has a deadline if its run may move to another instance, which gets the same deadline', async () => {
    const launchSpec = launchSpecOf({ spot: true });
    const first = await up(launchSpec, { by: 'remote-train' });
    expect(Math.abs(first.deadline! - Date.now() - 24 * 3600_000)).toBeLessThan(60_000);
    expect(first.tags[TAG.deadline]).toBe(String(first.deadline));
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [first.id] }));
    const deadline = first.deadline! - 1000;
    expect(await up(launchSpec, { by: 'remote-train', deadline })).toMatchObject({ how: 'launched', deadline });
  });

  it('ends when it has cost the maximum, and is not launched if its price is unknown', async () => {
    const { tags } = await up(launchSpecOf({ maxCost: 1, maxLifetime: '24h' }), { pricePerHour: 0.5 });
    expect(tags[TAG.lifetime]).toBe('7200');
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: at.aws.left().instances }));
    identity.deny.push('pricing:GetProducts');
    await expect(up(launchSpecOf({ maxCost: 2, type: 't3.medium' }))).rejects.toMatchObject({ code: 'PRICE_UNKNOWN' });
    await expect(up(launchSpecOf({ maxCost: 0.01 }), { pricePerHour: 10 })).rejects.toMatchObject({ code: 'MAX_COST' });
    expect(at.aws.left().instances).toEqual([]);
  });

  it('is found again, and started if it was stopped', async () => {
    const launchSpec = launchSpecOf({});
    const first = await up(launchSpec);
    expect(await up(launchSpecOf({ maxLifetime: '1h', tags: { a: 'b' } }))).toMatchObject({
      how: 'found',
      id: first.id,
    });
    await at.ec2.send(new StopInstancesCommand({ InstanceIds: [first.id] }));
    expect(await up(launchSpec)).toMatchObject({ how: 'started', id: first.id });
    expect(at.aws.instances.get(first.id)!.state).toBe('running');
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [first.id] }));
    const second = await up(launchSpec);
    expect(second.how).toBe('launched');
    expect(second.id).not.toBe(first.id);
  });

  it('says which limits apply to an instance that exists, and which of the configuration do not', async () => {
    const before = { maxLifetime: '2h', idleTimeout: '1h', onFinish: { failure: 'keep 30m' } };
    const { id } = await up(launchSpecOf(before), { pricePerHour: 0.5, by: 'remote-train' });
    const say = async (written: object) => {
      caller.said.length = 0;
      await up(launchSpecOf(written), { by: 'remote-train' });
      return caller.told;
    };
    const using = new RegExp(
      `^Using ${id} \\(t3\\.micro, eu-west-1a\\): running\\. It shuts down after at most (2h 00m|1h 59m) more, or 1h 00m idle\\.`,
    );
    const same = await say(before);
    expect(same).toMatch(using);
    expect(same).not.toContain('warning');
    const lower = await say({ ...before, maxLifetime: '10m', idleTimeout: '5m', onFinish: { failure: 'terminate' } });
    expect(lower).toMatch(using);
    expect(lower).toContain(
      `warning: ${id} keeps the limits with which it was launched: a lifetime of 2h 00m, not 10m 00s ("maxLifetime"); 1h 00m idle, not 5m 00s idle ("idleTimeout"); after a failure, keep 30m 00s, not terminate ("onFinish.failure"). To apply those of the configuration, terminate it, and run this command again: nx run`,
    );
    expect(await say({ ...before, maxCost: 0.1 })).toContain('a lifetime of 2h 00m, not 12m 00s ("maxCost").');
    const higher = await say({ ...before, maxLifetime: '3h', idleTimeout: false });
    expect(higher).toContain('2h 00m, not 3h 00m ("maxLifetime"); 1h 00m idle, not no idle timeout ("idleTimeout").');
    await at.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }));
    expect(await say(before)).toMatch(/Started i-.* It shuts down after at most 2h 00m more, or 1h 00m idle\.$/);
  });

  it("is not a colleague's, and other instances of the project are reported", async () => {
    const { id } = await up(launchSpecOf({ type: 'm5.large' }));
    const other = new Caller({ ...caller.owner, caller: `${CALLER}-2` });
    expect((await ensureInstance(other.options(launchSpecOf({ type: 'm5.large' })))).how).toBe('launched');
    other.aws.close();
    caller.said.length = 0;
    await up(launchSpecOf({}));
    expect(caller.said[0]).toContain(
      `launched with another launch spec, bucket or prefix: ${id} (m5.large, running). To terminate them all: nx run`,
    );
  });

  it('is not an instance of another bucket or prefix, running or stopped', async () => {
    const { id } = await up(launchSpecOf({}), { prefix: 'one' });
    const stop = () => at.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }));
    expect(await up(launchSpecOf({}), { prefix: 'two' })).toMatchObject({
      how: 'launched',
      id: expect.not.stringMatching(id),
    });
    await stop();
    expect(await up(launchSpecOf({}), { prefix: 'two' })).toMatchObject({
      how: 'found',
      id: expect.not.stringMatching(id),
    });
    expect(await up(launchSpecOf({}), { prefix: 'one/' })).toMatchObject({ how: 'started', id });
  });

  it('tries the next zone and type, and says so', async () => {
    at.aws.capacity.add({ type: 't3.micro' });
    at.aws.capacity.add({ type: 'm5.large', zone: 'eu-west-1a' });
    const made = await up(launchSpecOf({ type: ['t3.micro', 'm5.large'] }));
    expect(made).toMatchObject({ type: 'm5.large', zone: 'eu-west-1b' });
    const refused = caller.said.filter((line) => line.endsWith(': InsufficientInstanceCapacity'));
    expect(refused.map((line) => line.split(':')[0])).toEqual([
      't3.micro in eu-west-1a',
      't3.micro in eu-west-1b',
      't3.micro in eu-west-1c',
      'm5.large in eu-west-1a',
    ]);
    // What EC2 says is believed at once.
    const asked = at.aws.requests.filter(({ action, status }) => action === 'RunInstances' && status === 500);
    expect(asked.length).toBe(4);
  });

  it('is on-demand only if the launch spec allows it, after all spot options failed', async () => {
    at.aws.capacity.add({ market: 'spot' });
    await expect(up(launchSpecOf({ type: 'g5.xlarge', spot: true }))).rejects.toMatchObject({
      code: 'NO_CAPACITY',
      message: expect.stringMatching(
        /^EC2 has no capacity for any of these:\n {2}g5\.xlarge \(spot\) in eu-west-1a: InsufficientInstanceCapacity: There is no Spot.*\n {2}g5\.xlarge \(spot\) in eu-west-1b: .*\nTry again later, .*"or-on-demand"/,
      ),
    });
    expect(at.aws.left().instances).toEqual([]);
    const made = await up(launchSpecOf({ type: 'g5.xlarge', spot: 'or-on-demand' }));
    expect(made).toMatchObject({ market: 'on-demand', zone: 'eu-west-1a' });
    at.aws.capacity.clear();
    // The same launch spec finds it. After a refusal of all options, the launch is tried again.
    const spot = await up(launchSpecOf({ type: 'g5.xlarge', spot: true }));
    expect(spot).toMatchObject({ how: 'launched', market: 'spot', zone: 'eu-west-1a' });
    expect(spot.price).toMatchObject({ source: 'ec2', where: 'eu-west-1a' });
    expect(at.aws.left().spotRequests).toHaveLength(1);
  });

  it('waits for a new instance profile, up to a time limit', async () => {
    at.aws.profiles.arrive('late', 2_500);
    expect((await up(launchSpecOf({ instanceProfile: 'late' }))).how).toBe('launched');
    expect(caller.told).toContain('EC2 does not know the instance profile yet; waiting up to 5.0 s');
    at.aws.profiles.arrive('never', Infinity);
    await expect(up(launchSpecOf({ instanceProfile: 'never' }), { timeouts: { profile: 100 } })).rejects.toMatchObject({
      code: 'INSTANCE_PROFILE',
      next: expect.stringContaining('aws iam list-instance-profiles'),
    });
  });

  it.each<[string, () => void, object, string, RegExp]>([
    ['a quota', () => at.aws.capacity.add({ code: 'VcpuLimitExceeded' }), {}, 'QUOTA', /Service Quotas/],
    [
      'a permission',
      () => identity.deny.push('ec2:CreateTags'),
      {},
      'LAUNCH',
      /needs ec2:RunInstances, ec2:CreateTags/,
    ],
    [
      'a group that is not there',
      () => undefined,
      { securityGroups: ['sg-11111111'] },
      'LAUNCH',
      /InvalidGroup\.NotFound/,
    ],
    ['a disk that is too small', () => undefined, { volumeSize: '5GB' }, 'IMAGE', /needs 8 GB/],
    ['a subnet that is not there', () => undefined, { subnet: 'subnet-11111111' }, 'SUBNET', /instance\.subnet/],
    [
      'a type that is not there',
      () => undefined,
      { type: 'g5.huge' },
      'INSTANCE_TYPE',
      /The types of g5 there: g5\.12xlarge, g5\.8xlarge, g5\.xlarge\./,
    ],
    [
      'a family of types that is not there',
      () => undefined,
      { type: 'g9.huge' },
      'INSTANCE_TYPE',
      /families there: g4dn, g5, g5g/,
    ],
    [
      'a type that the subnet’s zone lacks',
      () => undefined,
      { type: 'g5.xlarge', subnet: 'subnet-0000000000000000c' },
      'INSTANCE_TYPE',
      /g5\.xlarge: eu-west-1a, eu-west-1b/,
    ],
    [
      'a family of images that is not there',
      () => undefined,
      { ami: 'windows' },
      'IMAGE',
      /auto, al2023, ubuntu-24\.04/,
    ],
    [
      'an image that is not there',
      () => undefined,
      { ami: 'ami-12345678' },
      'IMAGE',
      /There is no image ami-12345678 in eu-west-1/,
    ],
    [
      'a parameter that is not there',
      () => undefined,
      { ami: '/aws/service/no' },
      'IMAGE',
      /no public parameter \/aws\/service\/no/,
    ],
    [
      'an image of another architecture',
      () => undefined,
      { ami: 'ami-00000000000000002' },
      'IMAGE',
      /is for arm64, and t3\.micro is x86_64/,
    ],
    [
      'a GPU that the image does not drive',
      () => undefined,
      { type: 'p3.2xlarge' },
      'IMAGE',
      /does not support the V100/,
    ],
    ['a tag of ours', () => undefined, { tags: { 'nx-ec2:managed': 'no' } }, 'CONFIG_INVALID', /are reserved/],
  ])('fails with the reason for %s, and tries no other option', async (_, prepare, written, code, message) => {
    prepare();
    at.aws.requests.length = 0;
    await expect(up(launchSpecOf(written))).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(at.aws.requests.filter(({ action }) => action === 'RunInstances').length).toBeLessThan(2);
    expect(at.aws.left().instances).toEqual([]);
  });

  it.each([
    ['al2023', 't4g.micro', 'ami-00000000000000002'],
    ['ubuntu-24.04', 't3.micro', 'ami-00000000000000003'],
    ['ubuntu-24.04', 't4g.micro', 'ami-00000000000000004'],
    ['ubuntu-22.04', 't3.micro', 'ami-00000000000000007'],
    ['deep-learning', 'g5g.xlarge', 'ami-00000000000000006'],
    ['auto', 'g5.xlarge', 'ami-00000000000000005'],
    ['auto', 't3.micro', 'ami-00000000000000001'],
    ['/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-6.1-x86_64', 't3.micro', 'ami-00000000000000001'],
    ['ami-00000000000000003', 't3.micro', 'ami-00000000000000003'],
  ])('boots from %s on %s', async (ami, type, image) => {
    const { id } = await up(launchSpecOf({ ami, type }));
    const { ImageId, RootDeviceName, BlockDeviceMappings } = await describeOne(id);
    expect(ImageId).toBe(image);
    expect(BlockDeviceMappings!.map(({ DeviceName }) => DeviceName)).toEqual([RootDeviceName]);
  });

  it('boots from an image of the architecture of its type', async () => {
    at.aws.capacity.add({ type: 't3.micro' });
    const { id } = await up(launchSpecOf({ type: ['t3.micro', 't4g.micro'] }));
    expect((await describeOne(id)).ImageId).toBe('ami-00000000000000002');
  });

  it('is requested again under the same token after a network failure', async () => {
    at.aws.faults.add({ service: 'ec2', action: 'RunInstances', cut: 'after', times: 1 });
    at.aws.faults.add({ service: 'ec2', action: 'RunInstances', error: { code: 'RequestLimitExceeded', status: 503 } });
    expect((await up(launchSpecOf({}))).how).toBe('launched');
    expect(at.aws.left().instances).toHaveLength(1);
  });

  it('is launched once if several clients launch it at the same time', async () => {
    at.aws.capacity.add({ zone: 'eu-west-1a', times: 2 });
    const callers = Array.from({ length: 4 }, () => new Caller(caller.owner));
    const made = await Promise.all(callers.map((each) => ensureInstance(each.options(launchSpecOf({})))));
    for (const each of callers) each.aws.close();
    expect(at.aws.left().instances).toEqual([...new Set(made.map(({ id }) => id))]);
    expect(at.aws.left().instances).toHaveLength(1);
  });
});
