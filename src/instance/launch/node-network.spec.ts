import {
  AuthorizeSecurityGroupIngressCommand,
  DescribeSubnetsCommand,
  RevokeSecurityGroupIngressCommand,
  type IpPermission,
} from '@aws-sdk/client-ec2';
import { SECURITY_GROUP } from '../../local-aws/catalog/network';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { LOCAL_IDENTITY } from '../../local-aws/protocol/identity';
import { startPipeline } from '../../run/pipeline.fixture';
import { ensureInstances } from './ensure-instance';
import { Caller, CALLER, clear, launchSpecOf } from './ensure-instance.fixture';
import { authorize, from, makeGroup } from './security-groups.fixture';

describe('the network of several instances', () => {
  let at: Fixture;
  let caller: Caller;
  const identity = { ...LOCAL_IDENTITY, deny: [] as string[] };
  beforeAll(async () => void (at = await startPipeline({ instances: [], identities: [identity], boot: 3_600_000 })));
  afterAll(() => at.close());
  beforeEach(() => void (caller = new Caller({ workspace: 'w', project: 'nodes', caller: CALLER })));
  afterEach(async () => {
    identity.deny.length = 0;
    caller.aws.close();
    await clear(at);
  });

  const up = (written: object = {}, count = 2) =>
    ensureInstances(caller.options(launchSpecOf({ type: 'm5.large', ...written }), { count }));
  const group = (...rules: IpPermission[]) => makeGroup(at, ...rules);
  const fromCidr = (CidrIp: string): IpPermission => ({ IpProtocol: '-1', IpRanges: [{ CidrIp }] });
  const launches = async (...securityGroups: string[]) =>
    up({ securityGroups }).then(
      (made) => made.length === 2,
      (error: { code: string }) => error.code,
    );

  it('is refused, before anything is launched, if no group allows what comes from itself, and the rule is named', async () => {
    const id = await group();
    const next = `aws ec2 authorize-security-group-ingress --group-id ${id} --ip-permissions 'IpProtocol=-1,UserIdGroupPairs=[{GroupId=${id}}]'`;
    await expect(up({ securityGroups: [id] })).rejects.toMatchObject({
      code: 'SECURITY_GROUP',
      message: expect.stringContaining(`no security group of theirs allows all ports from itself: ${id} (nodes `),
      next: expect.stringContaining(next),
    });
    expect(at.aws.left().instances).toEqual([]);
    await authorize(at, id, from(id));
    expect(await launches(id)).toBe(true);
  });

  it('may have the rule in any of the groups, and from any of them', async () => {
    const [plain, open] = [await group(), await group()];
    await authorize(at, open, from(open));
    expect(await launches(plain, open)).toBe(true);
    expect(await launches(await group(from(plain)), plain)).toBe(true);
  });

  it.each<[string, IpPermission, boolean]>([
    ['all TCP ports', { IpProtocol: 'tcp', FromPort: 0, ToPort: 65_535 }, true],
    ['one port', { IpProtocol: 'tcp', FromPort: 22, ToPort: 22 }, false],
    ['all UDP ports', { IpProtocol: 'udp', FromPort: 0, ToPort: 65_535 }, false],
  ])('with a rule for %s', async (_, rule, works) => {
    const id = await group();
    await authorize(at, id, from(id, rule));
    expect(await launches(id)).toBe(works || 'SECURITY_GROUP');
  });

  it('may have a rule that allows the addresses of the subnets', async () => {
    const { Subnets } = await at.ec2.send(new DescribeSubnetsCommand({}));
    const [{ SubnetId: subnet, CidrBlock: cidr }, { CidrBlock: other }] = Subnets!;
    const own = async (block: string) => up({ subnet, securityGroups: [await group(fromCidr(block))] });
    expect(await own(cidr!)).toHaveLength(2);
    expect(await own('0.0.0.0/0')).toHaveLength(2);
    await expect(own(other!)).rejects.toMatchObject({ code: 'SECURITY_GROUP' });
  });

  it("is that of the VPC's default group where none is named", async () => {
    const rule = { GroupId: SECURITY_GROUP, IpPermissions: [from(SECURITY_GROUP)] };
    await at.ec2.send(new RevokeSecurityGroupIngressCommand(rule));
    await expect(up()).rejects.toMatchObject({ code: 'SECURITY_GROUP' });
    // One instance needs no rule.
    expect(await up({}, 1)).toHaveLength(1);
    await at.ec2.send(new AuthorizeSecurityGroupIngressCommand(rule));
    expect(await up()).toHaveLength(2);
  });

  it('is not checked if the caller may not look up security groups, which is a warning', async () => {
    identity.deny.push('ec2:DescribeSecurityGroups');
    expect(await up()).toHaveLength(2);
    expect(caller.told).toMatch(
      /warning: It is not known whether security groups let the instances reach one another\. UnauthorizedOperation: /,
    );
  });

  it('has an address for each in the subnet that is used', async () => {
    const full = { code: 'InsufficientFreeAddressesInSubnet', instances: 2 } as const;
    at.aws.capacity.add({ ...full, zone: 'eu-west-1a' });
    const made = await up({}, 3);
    expect(new Set(made.map(({ zone }) => zone))).toEqual(new Set(['eu-west-1b']));
    expect(caller.told).toMatch(
      /These subnets have fewer than 3 free addresses, and are not tried: subnet-\w+ \(eu-west-1a\): 2\./,
    );
    expect(caller.told).not.toMatch(/InsufficientFreeAddressesInSubnet/);
    at.aws.capacity.add(full);
    await expect(up({}, 4)).rejects.toMatchObject({
      code: 'SUBNET',
      message: expect.stringMatching(
        /^No subnet has 4 free addresses: (?:subnet-\w+ \(eu-west-1[abc]\): [012](?:, |\.\n)){3}/,
      ),
    });
  });
});
