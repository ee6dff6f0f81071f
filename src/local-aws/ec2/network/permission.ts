import { randomBytes } from 'node:crypto';
import { AwsError } from '../../protocol/aws-error';
import { ACCOUNT } from '../../protocol/identity';
import type { Form } from '../request/form';
import type { Xml } from '../request/xml';

/** Protocols that have a name, by their numbers. */
const PROTOCOLS: Record<string, string> = { '1': 'icmp', '6': 'tcp', '17': 'udp', '58': 'icmpv6', all: '-1' };
const NAMES = new Set(Object.values(PROTOCOLS));
const MAX_PORT = 65_535;

type PeerKind = 'group' | 'cidr' | 'cidr6' | 'prefixList';

/** One rule of a security group: a protocol, ports, and one peer. */
export interface Rule {
  /** `sgr-…` */
  id: string;
  /** `-1`: all. */
  protocol: string;
  /** Absent: all. */
  from?: number;
  to?: number;
  kind: PeerKind;
  /** The id of a group or prefix list, or a range of addresses. */
  peer: string;
  description?: string;
}

export function rule(traits: Omit<Rule, 'id'>): Rule {
  return { id: `sgr-${randomBytes(9).toString('hex').slice(0, 17)}`, ...traits };
}

export function isSameRule(one: Rule, other: Rule): boolean {
  return (['protocol', 'from', 'to', 'kind', 'peer'] as const).every((key) => one[key] === other[key]);
}

/** The rules of `IpPermissions`, or of the short form for one range. @throws AwsError */
export function readRules(form: Form): Rule[] {
  const permissions = form.parts('IpPermissions');
  const cidr = form.text('CidrIp');
  const rules = permissions.flatMap(readPermission);
  if (!permissions.length && cidr !== undefined)
    rules.push(rule({ ...readPorts(form), kind: 'cidr', peer: checkRange(cidr) }));
  if (!rules.length)
    throw new AwsError('MissingParameter', 'Either IpPermissions or CidrIp must be specified, with a peer each.');
  return rules;
}

function readPermission(form: Form): Rule[] {
  const ports = readPorts(form);
  const peers = (name: string, field: string, kind: PeerKind) =>
    form.parts(name).map((part) => {
      const peer = part.required(field);
      if (kind === 'cidr') checkRange(peer);
      return rule({ ...ports, kind, peer, description: part.text('Description') });
    });
  return [
    ...peers('Groups', 'GroupId', 'group'),
    ...peers('IpRanges', 'CidrIp', 'cidr'),
    ...peers('Ipv6Ranges', 'CidrIpv6', 'cidr6'),
    ...peers('PrefixListIds', 'PrefixListId', 'prefixList'),
  ];
}

function readPorts(form: Form): Pick<Rule, 'protocol' | 'from' | 'to'> {
  const text = form.required('IpProtocol').toLowerCase();
  const protocol = PROTOCOLS[text] ?? text;
  if (!NAMES.has(protocol) && !(/^\d{1,3}$/.test(protocol) && Number(protocol) <= 255))
    throw new AwsError('InvalidPermission.Malformed', `Invalid value '${text}' for IP protocol. Unknown protocol.`);
  if (protocol !== 'tcp' && protocol !== 'udp')
    // Rules for all protocols have all ports, whatever the request says.
    return protocol.startsWith('icmp')
      ? { protocol, from: form.number('FromPort'), to: form.number('ToPort') }
      : { protocol };
  const [from, to] = [form.number('FromPort'), form.number('ToPort')];
  if (from === undefined || to === undefined || from < 0 || to > MAX_PORT || from > to)
    throw new AwsError('InvalidParameterValue', `Invalid value for portRange. Must specify both from and to ports.`);
  return { protocol, from, to };
}

function checkRange(cidr: string): string {
  const [, address, bits] = /^((?:\d{1,3}\.){3}\d{1,3})\/(\d{1,2})$/.exec(cidr) ?? [];
  if (address === undefined || Number(bits) > 32 || address.split('.').some((part) => Number(part) > 255))
    throw new AwsError('InvalidParameterValue', `CIDR block ${cidr} is malformed`);
  return cidr;
}

/** Rules as DescribeSecurityGroups groups them: those of one protocol and the same ports are one permission. */
export function permissionsXml(rules: Rule[]): Xml[] {
  const permissions = new Map<string, Rule[]>();
  for (const each of rules) {
    const key = JSON.stringify([each.protocol, each.from, each.to]);
    permissions.set(key, [...(permissions.get(key) ?? []), each]);
  }
  return [...permissions.values()].map((same) => {
    const peers = (kind: PeerKind, name: string) =>
      same.filter((each) => each.kind === kind).map(({ peer, description }) => ({ [name]: peer, description }));
    const [{ protocol, from, to }] = same;
    return {
      ipProtocol: protocol,
      fromPort: from,
      toPort: to,
      groups: peers('group', 'groupId').map((each) => ({ userId: ACCOUNT, ...each })),
      ipRanges: peers('cidr', 'cidrIp'),
      ipv6Ranges: peers('cidr6', 'cidrIpv6'),
      prefixListIds: peers('prefixList', 'prefixListId'),
    };
  });
}

/** A rule as the calls answer it that change it. */
export function ruleXml(
  group: string,
  egress: boolean,
  { id, protocol, from, to, kind, peer, description }: Rule,
): Xml {
  return {
    securityGroupRuleId: id,
    groupId: group,
    groupOwnerId: ACCOUNT,
    isEgress: egress,
    ipProtocol: protocol,
    fromPort: from ?? -1,
    toPort: to ?? -1,
    cidrIpv4: kind === 'cidr' ? peer : undefined,
    cidrIpv6: kind === 'cidr6' ? peer : undefined,
    prefixListId: kind === 'prefixList' ? peer : undefined,
    referencedGroupInfo: kind === 'group' ? { groupId: peer, userId: ACCOUNT } : undefined,
    description,
  };
}
