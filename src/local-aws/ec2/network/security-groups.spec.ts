import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AuthorizeSecurityGroupEgressCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  DeleteSecurityGroupCommand,
  DescribeInstancesCommand,
  DescribeSecurityGroupsCommand,
  RevokeSecurityGroupEgressCommand,
  RevokeSecurityGroupIngressCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
  type CreateSecurityGroupCommandInput,
  type DescribeSecurityGroupsCommandInput,
  type IpPermission,
} from '@aws-sdk/client-ec2';
import { LOCAL_IDENTITY } from '../../protocol/identity';
import { refusal, startFixture, type Fixture } from '../../local-aws.fixture';

const DEFAULT = 'sg-00000000000000001';
const NO_PEERS = { IpRanges: [], Ipv6Ranges: [], PrefixListIds: [], UserIdGroupPairs: [] };
const TO_EVERYWHERE = { ...NO_PEERS, IpProtocol: '-1', IpRanges: [{ CidrIp: '0.0.0.0/0' }] };

/** All traffic with the members of a group, as a request asks for it. */
function withGroup(GroupId: string): IpPermission {
  return { IpProtocol: '-1', UserIdGroupPairs: [{ GroupId }] };
}

/** The same as it is described. */
function describedWithGroup(GroupId: string) {
  return { ...NO_PEERS, IpProtocol: '-1', UserIdGroupPairs: [{ GroupId, UserId: '000000000000' }] };
}

describe('security groups', () => {
  let at: Fixture;
  const identity = { ...LOCAL_IDENTITY, deny: [] as string[] };
  beforeEach(async () => {
    at = await startFixture({ instances: [], identities: [identity] });
  });
  afterEach(() => at.close());

  const create = async (more: Partial<CreateSecurityGroupCommandInput> = {}) => {
    const command = new CreateSecurityGroupCommand({ GroupName: 'nodes', Description: 'of a run', ...more });
    return (await at.ec2.send(command)).GroupId!;
  };
  const list = async (input: DescribeSecurityGroupsCommandInput) =>
    (await at.ec2.send(new DescribeSecurityGroupsCommand(input))).SecurityGroups!;
  const find = async (Name: string, ...Values: string[]) =>
    (await list({ Filters: [{ Name, Values }] })).map(({ GroupName }) => GroupName);
  const allowIn = (GroupId: string, ...IpPermissions: IpPermission[]) =>
    at.ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId, IpPermissions }));
  const allowOut = (GroupId: string, ...IpPermissions: IpPermission[]) =>
    at.ec2.send(new AuthorizeSecurityGroupEgressCommand({ GroupId, IpPermissions }));
  const remove = (GroupId: string) => at.ec2.send(new DeleteSecurityGroupCommand({ GroupId }));

  it('have a default one, with ingress from itself, and egress to addresses but not to itself', async () => {
    expect(await list({})).toEqual([
      {
        GroupId: DEFAULT,
        GroupName: 'default',
        Description: 'default VPC security group',
        VpcId: 'vpc-00000000000000001',
        OwnerId: '000000000000',
        IpPermissions: [describedWithGroup(DEFAULT)],
        IpPermissionsEgress: [TO_EVERYWHERE],
        Tags: [],
      },
    ]);
    expect(await refusal(remove(DEFAULT))).toBe('CannotDelete 400');
  });

  it('let nothing in when they are new, and then what was authorized', async () => {
    const Tags = [{ Key: 'nx-ec2:run', Value: '7' }];
    const id = await create({ TagSpecifications: [{ ResourceType: 'security-group', Tags }] });
    expect(await list({ GroupIds: [id] })).toMatchObject([
      { GroupName: 'nodes', Description: 'of a run', IpPermissions: [], IpPermissionsEgress: [TO_EVERYWHERE], Tags },
    ]);
    const { SecurityGroupRules } = await allowIn(id, withGroup(id));
    expect(SecurityGroupRules).toMatchObject([
      { GroupId: id, IsEgress: false, IpProtocol: '-1', ReferencedGroupInfo: { GroupId: id } },
    ]);
    await allowOut(id, withGroup(id));
    const ssh = { IpProtocol: 'tcp', FromPort: 22, ToPort: 22 };
    await allowIn(id, { ...ssh, IpRanges: [{ CidrIp: '10.0.0.0/8', Description: 'office' }] });
    await allowIn(id, { ...ssh, UserIdGroupPairs: [{ GroupId: DEFAULT }] });
    const [{ IpPermissions, IpPermissionsEgress }] = await list({ GroupNames: ['nodes'] });
    expect(IpPermissions).toEqual([
      describedWithGroup(id),
      {
        ...NO_PEERS,
        ...ssh,
        IpRanges: [{ CidrIp: '10.0.0.0/8', Description: 'office' }],
        UserIdGroupPairs: [{ GroupId: DEFAULT, UserId: '000000000000' }],
      },
    ]);
    // One permission for both peers: they have the same protocol and ports.
    expect(IpPermissionsEgress).toEqual([
      { ...TO_EVERYWHERE, UserIdGroupPairs: describedWithGroup(id).UserIdGroupPairs },
    ]);
  });

  it('are found by what they allow', async () => {
    const id = await create();
    await allowIn(id, withGroup(id));
    await allowOut(id, withGroup(DEFAULT));
    expect(await find('ip-permission.group-id', id)).toEqual(['nodes']);
    expect(await find('egress.ip-permission.group-id', DEFAULT)).toEqual(['nodes']);
    expect(await find('egress.ip-permission.cidr', '0.0.0.0/0')).toEqual(['default', 'nodes']);
    expect(await find('group-name', 'def*')).toEqual(['default']);
    expect(await refusal(list({ GroupIds: ['sg-0123456789abcdef0'] }))).toBe('InvalidGroup.NotFound 400');
    expect(await refusal(list({ GroupNames: ['none'] }))).toBe('InvalidGroup.NotFound 400');
  });

  it('refuse a rule that exists, or that is none', async () => {
    const id = await create();
    await allowIn(id, withGroup(id));
    const tcp = (FromPort: number, ToPort: number, CidrIp = '0.0.0.0/0') => ({
      IpProtocol: 'tcp',
      FromPort,
      ToPort,
      IpRanges: [{ CidrIp }],
    });
    expect(await refusal(allowIn(id, withGroup(id)))).toBe('InvalidPermission.Duplicate 400');
    expect(await refusal(allowOut(id, { IpProtocol: '-1', IpRanges: [{ CidrIp: '0.0.0.0/0' }] }))).toBe(
      'InvalidPermission.Duplicate 400',
    );
    expect(await refusal(allowIn(id, tcp(1, 2), tcp(1, 2)))).toBe('InvalidPermission.Duplicate 400');
    expect(await refusal(allowIn(id, withGroup('sg-0123456789abcdef0')))).toBe('InvalidGroup.NotFound 400');
    for (const wrong of [tcp(22, 21), tcp(0, 65_536), tcp(22, 22, '0.0.0.0'), tcp(22, 22, '0.0.0.0/33')])
      expect(await refusal(allowIn(id, wrong))).toBe('InvalidParameterValue 400');
    expect(await refusal(allowIn(id, { ...tcp(1, 2), IpProtocol: 'tpc' }))).toBe('InvalidPermission.Malformed 400');
    expect(await refusal(allowIn(id))).toBe('MissingParameter 400');
    expect((await list({ GroupIds: [id] }))[0].IpPermissions).toEqual([describedWithGroup(id)]);
  });

  it('lose rules that are revoked', async () => {
    const ingress = { GroupId: DEFAULT, IpPermissions: [withGroup(DEFAULT)] };
    await at.ec2.send(new RevokeSecurityGroupIngressCommand(ingress));
    const again = await at.ec2.send(new RevokeSecurityGroupIngressCommand(ingress));
    expect(again.UnknownIpPermissions).toEqual([describedWithGroup(DEFAULT)]);
    const out = { IpProtocol: '-1', IpRanges: [{ CidrIp: '0.0.0.0/0' }] };
    await at.ec2.send(new RevokeSecurityGroupEgressCommand({ GroupId: DEFAULT, IpPermissions: [out] }));
    expect(await list({})).toMatchObject([{ IpPermissions: [], IpPermissionsEgress: [] }]);
    const rule = { GroupId: DEFAULT, SecurityGroupRuleIds: ['sgr-0123456789abcdef0'] };
    expect(await refusal(at.ec2.send(new RevokeSecurityGroupIngressCommand(rule)))).toBe(
      'InvalidSecurityGroupRuleId.NotFound 400',
    );
  });

  it('can be given to instances, and deleted when no instance and no other group needs them', async () => {
    const [one, other] = [await create(), await create({ GroupName: 'others' })];
    await allowIn(one, withGroup(one), withGroup(other));
    const { Instances } = await at.ec2.send(
      new RunInstancesCommand({
        ImageId: 'ami-00000000000000001',
        MinCount: 1,
        MaxCount: 1,
        SecurityGroupIds: [one, DEFAULT],
      }),
    );
    const InstanceIds = [Instances![0].InstanceId!];
    const { Reservations } = await at.ec2.send(new DescribeInstancesCommand({ InstanceIds }));
    expect(Reservations![0].Instances![0].SecurityGroups).toEqual([
      { GroupId: one, GroupName: 'nodes' },
      { GroupId: DEFAULT, GroupName: 'default' },
    ]);
    expect(await refusal(remove(one))).toBe('DependencyViolation 400');
    expect(await refusal(remove(other))).toBe('DependencyViolation 400');
    expect(at.aws.left().securityGroups).toEqual([one, other]);
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds }));
    await remove(one);
    await remove(other);
    expect(at.aws.left().securityGroups).toEqual([]);
    expect(await refusal(remove(one))).toBe('InvalidGroup.NotFound 400');
    await at.ec2.send(new DescribeInstancesCommand({ InstanceIds }));
  });

  it('have a name that no other has, and need a permission for their tags', async () => {
    await create();
    expect(await refusal(create())).toBe('InvalidGroup.Duplicate 400');
    for (const GroupName of ['default', 'sg-1'])
      expect(await refusal(create({ GroupName }))).toBe('InvalidParameterValue 400');
    expect(await refusal(create({ GroupName: 'x', VpcId: 'vpc-1' }))).toBe('InvalidVpcID.NotFound 400');
    identity.deny.push('ec2:CreateTags');
    const TagSpecifications = [{ ResourceType: 'security-group' as const, Tags: [{ Key: 'a', Value: 'b' }] }];
    expect(await refusal(create({ GroupName: 'tagged', TagSpecifications }))).toBe('UnauthorizedOperation 403');
    identity.deny.length = 0;
  });

  it('survive a restart', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-groups-'));
    const first = await startFixture({ directory, instances: [] });
    const { GroupId } = await first.ec2.send(new CreateSecurityGroupCommand({ GroupName: 'nodes', Description: 'x' }));
    const command = { GroupId, IpPermissions: [withGroup(GroupId!)] };
    await first.ec2.send(new AuthorizeSecurityGroupIngressCommand(command));
    await first.close();
    const second = await startFixture({ directory, instances: [] });
    const { SecurityGroups } = await second.ec2.send(new DescribeSecurityGroupsCommand({ GroupIds: [GroupId!] }));
    expect(SecurityGroups![0].IpPermissions).toEqual([describedWithGroup(GroupId!)]);
    await second.close();
    rmSync(directory, { recursive: true, force: true });
  });
});
