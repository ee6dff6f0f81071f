import type { IpPermission, SecurityGroup, Subnet } from '@aws-sdk/client-ec2';
import type { Aws } from '../../aws/clients';
import { awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { Problem } from '../../report/problem';
import { commandLine } from '../../report/shell-words';
import type { LaunchOption } from './launch-options';

/** Where several instances of one launch may be, and what EC2 says of their network. */
export interface NodeNetwork {
  /** The launch options whose subnet has enough free addresses. */
  options: LaunchOption[];
  /** Subnets that have too few, in words. */
  full: string[];
  /** Why it is not known whether the instances reach one another; null: they do. */
  unknown: string | null;
}

/**
 * Checks, before several instances are launched, what EC2 would not say: that a subnet has an address for each, and that
 * a security group lets them reach one another.
 * @throws Problem where no subnet has enough addresses, or they can't reach one another.
 */
export async function nodeNetwork(
  aws: Aws,
  launchSpec: LaunchSpec,
  launchOptions: readonly LaunchOption[],
  count: number,
  signal?: AbortSignal,
): Promise<NodeNetwork> {
  const ids = [...new Set(launchOptions.map(({ subnet }) => subnet))];
  const { DescribeSubnetsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const command = new DescribeSubnetsCommand({ SubnetIds: ids });
  const { Subnets = [] } = await ec2.send(command, { abortSignal: signal }).catch((error: unknown) => {
    throw awsProblem('SUBNET', 'Could not look up subnets.', error);
  });
  const lacking = Subnets.filter((each) => freeAddresses(each) < count);
  const full = lacking.map((each) => `${each.SubnetId} (${each.AvailabilityZone}): ${freeAddresses(each)}`);
  const options = launchOptions.filter(({ subnet }) => !lacking.some(({ SubnetId }) => SubnetId === subnet));
  if (!options.length)
    throw new Problem('SUBNET', `No subnet has ${count} free addresses: ${full.join(', ')}.`, {
      next: 'Name a larger subnet, terminate other instances, or train on fewer nodes.',
      settings: ['instance.subnet', 'train.nodes'],
    });
  const used = Subnets.filter(({ SubnetId }) => options.some(({ subnet }) => subnet === SubnetId));
  return { options, full, unknown: await assertReachable(aws, launchSpec, used, signal) };
}

function freeAddresses({ AvailableIpAddressCount }: Subnet): number {
  return AvailableIpAddressCount ?? Infinity;
}

/** @returns why it is not known; null: they reach one another. @throws Problem where they don't. */
async function assertReachable(
  aws: Aws,
  { securityGroups }: LaunchSpec,
  subnets: readonly Subnet[],
  abortSignal?: AbortSignal,
): Promise<string | null> {
  const { DescribeSecurityGroupsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const vpcs = [...new Set(subnets.flatMap(({ VpcId }) => VpcId ?? []))];
  const Filters = [
    { Name: 'vpc-id', Values: vpcs },
    { Name: 'group-name', Values: ['default'] },
  ];
  let groups: SecurityGroup[];
  try {
    const command = new DescribeSecurityGroupsCommand(securityGroups ? { GroupIds: securityGroups } : { Filters });
    groups = (await ec2.send(command, { abortSignal })).SecurityGroups ?? [];
  } catch (error) {
    if (abortSignal?.aborted) throw abortSignal.reason;
    const { aws: reason, message } = awsProblem('SECURITY_GROUP', 'Could not look up security groups.', error);
    // The launch itself says what is wrong with a group.
    return reason ? `${reason.code}: ${reason.message}` : message.split('\n')[0];
  }
  for (const vpc of vpcs) {
    const own = groups.filter(({ VpcId }) => VpcId === vpc);
    const cidrs = subnets.flatMap(({ VpcId, CidrBlock }) => (VpcId === vpc ? (CidrBlock ?? []) : []));
    if (own.length && !own.some((group) => letsIn(group, own, cidrs))) throw unreachable(own);
  }
  return null;
}

/** Whether a group's rules let all TCP in from the other instances, since training libraries choose their ports. */
function letsIn({ IpPermissions = [] }: SecurityGroup, own: SecurityGroup[], cidrs: string[]): boolean {
  const isFromOwn = ({ UserIdGroupPairs = [] }: IpPermission) =>
    UserIdGroupPairs.some(({ GroupId }) => own.some((each) => each.GroupId === GroupId));
  const isFromSubnets = ({ IpRanges = [] }: IpPermission) =>
    cidrs.length > 0 && cidrs.every((cidr) => IpRanges.some(({ CidrIp = '' }) => contains(CidrIp, cidr)));
  return IpPermissions.filter(hasAllPorts).some((rule) => isFromOwn(rule) || isFromSubnets(rule));
}

/** -1 is all protocols. */
function hasAllPorts({ IpProtocol, FromPort = -1, ToPort = -1 }: IpPermission): boolean {
  if (IpProtocol === '-1') return true;
  return (IpProtocol === 'tcp' || IpProtocol === '6') && FromPort <= 1024 && ToPort === 65_535;
}

/** Whether all addresses of an IPv4 block are in another one. */
function contains(outer: string, inner: string): boolean {
  const [one, other] = [outer, inner].map((block) => {
    const [address, bits] = block.split('/');
    return { address: address.split('.').reduce((sum, each) => sum * 256 + Number(each), 0), bits: Number(bits) };
  });
  const size = 2 ** (32 - one.bits);
  return one.bits <= other.bits && Math.floor(one.address / size) === Math.floor(other.address / size);
}

function unreachable(groups: SecurityGroup[]): Problem {
  const names = groups.map(({ GroupId, GroupName }) => `${GroupId} (${GroupName})`);
  const id = groups[0].GroupId!;
  const command = commandLine(
    ...['aws', 'ec2', 'authorize-security-group-ingress', '--group-id', id],
    ...['--ip-permissions', `IpProtocol=-1,UserIdGroupPairs=[{GroupId=${id}}]`],
  );
  return new Problem(
    'SECURITY_GROUP',
    `The nodes could not reach one another: no security group of theirs allows all ports from itself: ${names.join(', ')}.`,
    {
      next: `Add the rule: ${command}\nOr name a group that has it.`,
      settings: ['instance.securityGroups'],
    },
  );
}
