import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DescribeCapacityBlockOfferingsCommand, PurchaseCapacityBlockCommand } from '@aws-sdk/client-ec2';
import { Aws } from '../aws/clients';
import { LOCAL_IDENTITY } from '../local-aws/protocol/identity';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { startPipeline } from '../run/pipeline.fixture';
import { CALLER, launchSpecOf } from '../instance/launch/ensure-instance.fixture';
import { checkLaunch } from './check-launch';

describe('the doctor, with a launch spec', () => {
  let at: Fixture;
  let aws: Aws;
  const memory = mkdtempSync(join(tmpdir(), 'nx-ec2-memory-'));
  const identity = { ...LOCAL_IDENTITY, deny: [] as string[] };
  beforeAll(async () => {
    at = await startPipeline({ instances: [], identities: [identity] });
    process.env.NX_EC2_CACHE_DIRECTORY = memory;
    aws = new Aws({});
  });
  afterAll(async () => {
    aws.close();
    await at.close();
    rmSync(memory, { recursive: true, force: true });
  });
  afterEach(() => (identity.deny.length = 0));

  const diagnose = async (written: object, pricePerHour?: number, count?: number) => {
    const purpose = { count, owner: { workspace: 'acme', project: 'model', caller: CALLER }, store: 'bucket/' };
    const found = await checkLaunch(aws, launchSpecOf(written), purpose, pricePerHour);
    return Object.fromEntries(found.map((each) => [each.name, each]));
  };

  it('reports zone, image and price of an instance that could be launched, and launches nothing', async () => {
    const found = await diagnose({ type: ['g5.xlarge', 'g4dn.xlarge'], spot: 'or-on-demand' });
    expect(Object.keys(found)).toEqual([
      ...['instance type', 'offered', 'instance profile', 'image', 'price', 'launch an instance'],
      ...['quota for g5.xlarge (spot)', 'quota for g5.xlarge', 'quota for g4dn.xlarge (spot)', 'quota for g4dn.xlarge'],
    ]);
    expect(Object.values(found).filter(({ ok }) => ok !== true)).toEqual([]);
    expect(found.offered.detail).toBe(
      'g5.xlarge in eu-west-1a, eu-west-1b; g4dn.xlarge in eu-west-1a, eu-west-1b, eu-west-1c',
    );
    expect(found.price.detail).toMatch(/^g5\.xlarge: \$0\.45 an hour \(spot, eu-west-1a, EC2's price of /);
    expect(found['launch an instance'].detail).toBe('EC2 would launch g5.xlarge (spot)');
    expect(at.aws.left()).toMatchObject({ instances: [], volumes: [], spotRequests: [] });
  });

  it('checks quota, addresses and security groups for several instances', async () => {
    const found = await diagnose({ type: 'c5.xlarge', maxCost: 10 }, undefined, 3);
    expect(found['network of 3 instances']).toMatchObject({ ok: true });
    expect(found['quota for 3 x c5.xlarge'].detail).toMatch(/ and 3 instances need 12$/);
    expect(found.price.detail).toMatch(/^c5\.xlarge: 3 x \$0\.\d+ an hour /);
    expect(found['launch 3 instances'].detail).toBe('EC2 would launch 3 x c5.xlarge (on-demand)');
    at.aws.capacity.add({ code: 'InsufficientFreeAddressesInSubnet', instances: 2 });
    expect((await diagnose({}, undefined, 3))['network of 3 instances']).toMatchObject({
      ok: false,
      detail: expect.stringMatching(/^No subnet has 3 free addresses: subnet-\w+ \(eu-west-1a\): 2, /),
      fix: expect.stringContaining('Name a larger subnet'),
    });
    at.aws.capacity.clear();
    identity.deny.push('ec2:DescribeSecurityGroups');
    expect((await diagnose({}, undefined, 3))['network of 3 instances']).toMatchObject({
      ok: null,
      detail: expect.stringContaining('UnauthorizedOperation'),
      fix: expect.stringContaining('ec2:DescribeSecurityGroups'),
    });
  });

  it('asks, for several instances, whether a placement group could be created, and creates none', async () => {
    const of = async (written: object) =>
      (await diagnose({ type: 'c5.xlarge', ...written }, undefined, 2))['placement group'];
    expect(await of({})).toMatchObject({ ok: true, detail: 'EC2 would create one' });
    expect(await of({ placement: 'none' })).toBeUndefined();
    expect(await of({ type: 't3.micro' })).toMatchObject({ ok: null, detail: expect.stringContaining('t3.micro') });
    identity.deny.push('ec2:CreatePlacementGroup');
    const fix = expect.stringContaining('ec2:CreatePlacementGroup');
    expect(await of({})).toMatchObject({ ok: null, detail: expect.stringContaining('UnauthorizedOperation'), fix });
    expect(await of({ placement: 'cluster' })).toMatchObject({ ok: false, fix });
    expect(at.aws.left().placementGroups).toEqual([]);
  });

  it('checks a capacity block, which has no price and no quota, and EFA', async () => {
    const offered = new DescribeCapacityBlockOfferingsCommand({
      InstanceType: 'p5.48xlarge',
      InstanceCount: 2,
      CapacityDurationHours: 24,
    });
    const [{ CapacityBlockOfferingId }] = (await at.ec2.send(offered)).CapacityBlockOfferings!;
    const bought = await at.ec2.send(
      new PurchaseCapacityBlockCommand({ CapacityBlockOfferingId, InstancePlatform: 'Linux/UNIX' }),
    );
    const id = bought.CapacityReservation!.CapacityReservationId;
    const written = { type: 'p5.48xlarge', capacityReservation: id, network: 'efa' };
    const one = await diagnose(written);
    expect(one['capacity reservation'].detail).toMatch(
      new RegExp(`^${id}, a capacity block of 2 x p5\\.48xlarge in eu-west-1c, 2 free, until 20`),
    );
    expect(one.EFA).toMatchObject({ ok: true, detail: 'p5.48xlarge: 32 EFA interfaces at most' });
    expect(one['launch an instance'].ok).toBe(true);
    expect(Object.keys(one).filter((name) => /price|quota/.test(name))).toEqual([]);
    const three = await diagnose(written, undefined, 3);
    expect(three['capacity reservation']).toMatchObject({ ok: false, detail: expect.stringContaining('2 of 3') });
    expect(three['network of 3 instances']).toMatchObject({ ok: false, fix: expect.stringContaining('-egress') });
    expect((await diagnose({ network: 'efa' })).EFA).toMatchObject({ ok: false });
  });

  it('names the action that the caller lacks', async () => {
    identity.deny.push('ec2:RunInstances');
    expect((await diagnose({}))['launch an instance']).toMatchObject({
      ok: false,
      detail: expect.stringMatching(/^EC2 would not launch t3\.micro \(on-demand\)\. UnauthorizedOperation: /),
      fix: expect.stringMatching(/^The caller lacks ec2:RunInstances: the CallerPolicy/),
    });
  });

  it('names what does not exist, and continues its checks', async () => {
    const type = await diagnose({ type: 'zz9.huge' });
    expect(type['instance type']).toMatchObject({ ok: false, detail: expect.stringMatching(/zz9\.huge/) });
    const image = await diagnose({ ami: 'ami-0123456789abcdef0' });
    expect(image.image).toMatchObject({ ok: false, detail: expect.stringMatching(/ami-0123456789abcdef0/) });
    expect(image['quota for t3.micro'].ok).toBe(true);
    expect(image['launch an instance']).toBeUndefined();
    const cost = await diagnose({ maxCost: 0.01 }, 10);
    expect(cost['launch an instance']).toMatchObject({ ok: false, detail: expect.stringMatching(/"maxCost" of/) });
  });

  it('does not fail if it may not ask for a price or a quota', async () => {
    identity.deny.push('pricing:*', 'servicequotas:*');
    const found = await diagnose({ type: 'm5.large' });
    expect([found.price.ok, found['quota for m5.large'].ok, found['launch an instance'].ok]).toEqual([
      null,
      null,
      true,
    ]);
    expect(found.price.detail).toMatch(/AccessDeniedException/);
  });
});
