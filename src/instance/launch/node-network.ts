import type { DescribeSecurityGroupsCommandInput, IpPermission, SecurityGroup, Subnet } from '@aws-sdk/client-ec2';
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

/** @param why as `unknown` of a network. */
export function unknownNetwork(why: string): string {
  return `It is not known whether security groups let the instances reach one another. ${why}`;
}

function freeAddresses({ AvailableIpAddressCount }: Subnet): number {
  return AvailableIpAddressCount ?? Infinity;
}

/** @returns why it is not known; null: they reach one another. @throws Problem where they don't. */
async function assertReachable(
  aws: Aws,
  { securityGroups, network }: LaunchSpec,
  subnets: readonly Subnet[],
  abortSignal?: AbortSignal,
): Promise<string | null> {
  const vpcs = [...new Set(subnets.flatMap(({ VpcId }) => VpcId ?? []))];
  const Filters = [
    { Name: 'vpc-id', Values: vpcs },
    { Name: 'group-name', Values: ['default'] },
  ];
  const groups = await lookUpGroups(aws, securityGroups ? { GroupIds: securityGroups } : { Filters }, abortSignal);
  if (typeof groups === 'string') return groups;
  for (const vpc of vpcs) {
    const own = groups.filter(({ VpcId }) => VpcId === vpc);
    const cidrs = subnets.flatMap(({ VpcId, CidrBlock }) => (VpcId === vpc ? (CidrBlock ?? []) : []));
    const wanting = network === 'efa' ? efaRules(own) : own.some((group) => letsIn(group, own, cidrs)) ? [] : INGRESS;
    if (own.length && wanting.length) throw unreachable(whyUnreachable(own, wanting, network), own[0], own[0], wanting);
  }
  return null;
}

function whyUnreachable(groups: SecurityGroup[], directions: Direction[], network: LaunchSpec['network']): string {
  const rule = network === 'efa' ? 'all protocols, by a rule that names itself,' : 'all ports';
  const way = directions.map((each) => (each === 'egress' ? 'to' : 'from')).join(' and ');
  return `${network === 'efa' ? ' by EFA' : ''}: no security group of theirs allows ${rule} ${way} itself: ${describeGroups(groups)}`;
}

/** The security groups, or why they could not be looked up. */
export async function lookUpGroups(
  aws: Aws,
  request: DescribeSecurityGroupsCommandInput,
  abortSignal?: AbortSignal,
): Promise<SecurityGroup[] | string> {
  const { DescribeSecurityGroupsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  try {
    return (await ec2.send(new DescribeSecurityGroupsCommand(request), { abortSignal })).SecurityGroups ?? [];
  } catch (error) {
    if (abortSignal?.aborted) throw abortSignal.reason;
    const { aws: reason, message } = awsProblem('SECURITY_GROUP', 'Could not look up security groups.', error);
    // The launch itself says what is wrong with a group.
    return reason ? `${reason.code}: ${reason.message}` : message.split('\n')[0];
  }
}

type Direction = 'ingress' | 'egress';
const INGRESS: Direction[] = ['ingress'];

/**
 * The directions in which no rule allows everything between the instances by naming a group. EFA traffic is matched by
 * rules of groups alone: 0.0.0.0/0 does not allow it (EC2 user guide, EFA).
 */
function efaRules(own: SecurityGroup[]): Direction[] {
  const isOpen = (rules: IpPermission[] | undefined) =>
    (rules ?? []).some(({ IpProtocol, UserIdGroupPairs = [] }) => {
      return IpProtocol === '-1' && UserIdGroupPairs.some(({ GroupId }) => own.some((one) => one.GroupId === GroupId));
    });
  const directions: [Direction, boolean][] = [
    ['ingress', own.some(({ IpPermissions }) => isOpen(IpPermissions))],
    ['egress', own.some(({ IpPermissionsEgress }) => isOpen(IpPermissionsEgress))],
  ];
  return directions.flatMap(([direction, isAllowed]) => (isAllowed ? [] : [direction]));
}

/**
 * Whether a group's rules let all TCP in from other instances, since training libraries choose their ports.
 * @param groups those of the others. @param cidrs the addresses of the others.
 */
export function letsIn({ IpPermissions = [] }: SecurityGroup, groups: SecurityGroup[], cidrs: string[]): boolean {
  const isFromGroup = ({ UserIdGroupPairs = [] }: IpPermission) =>
    UserIdGroupPairs.some(({ GroupId }) => groups.some((each) => each.GroupId === GroupId));
  const isFromAddresses = ({ IpRanges = [] }: IpPermission) =>
    cidrs.length > 0 && cidrs.every((cidr) => IpRanges.some(({ CidrIp = '' }) => contains(CidrIp, cidr)));
  return IpPermissions.filter(hasAllPorts).some((rule) => isFromGroup(rule) || isFromAddresses(rule));
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

export function describeGroups(groups: SecurityGroup[]): string {
  return groups.map(({ GroupId, GroupName }) => `${GroupId} (${GroupName})`).join(', ');
}

/**
 * @param why what is not allowed. @param into the group that the rules for it would belong to. @param from the other one.
 * @param directions of the rules that lack.
 */
export function unreachable(
  why: string,
  into: SecurityGroup,
  from: SecurityGroup,
  directions: Direction[] = INGRESS,
): Problem {
  const commands = directions.map((direction) =>
    commandLine(
      ...['aws', 'ec2', `authorize-security-group-${direction}`, '--group-id', into.GroupId!],
      ...['--ip-permissions', `IpProtocol=-1,UserIdGroupPairs=[{GroupId=${from.GroupId}}]`],
    ),
  );
  return new Problem('SECURITY_GROUP', `The nodes could not reach one another${why}.`, {
    next: `Add the rule: ${commands.join('\n')}\nOr name a group that has it.`,
    settings: ['instance.securityGroups'],
  });
}
