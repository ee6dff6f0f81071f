import { randomBytes } from 'node:crypto';
import { SECURITY_GROUP, VPC } from '../../catalog/network';
import type { Instances } from '../../instance/instances';
import { AwsError } from '../../protocol/aws-error';
import { ACCOUNT, type Identity } from '../../protocol/identity';
import { KeptJson } from '../../state/kept-json';
import { alsoAllow, type Action } from '../request/action';
import type { Form } from '../request/form';
import { page, select } from '../request/select';
import { tagSet, type Xml } from '../request/xml';
import { isSameRule, permissionsXml, readRules, rule, ruleXml, type Rule } from './permission';

export interface SecurityGroup {
  /** `sg-…` */
  id: string;
  name: string;
  description: string;
  tags: Record<string, string>;
  ingress: Rule[];
  egress: Rule[];
}

type Direction = 'ingress' | 'egress';

/** A new group lets everything out, to addresses: that is no rule for a peer that is a group. */
const EVERYWHERE = { protocol: '-1', kind: 'cidr', peer: '0.0.0.0/0' } as const;

/** The security groups of the default VPC. They are told of, and filter nothing. */
export class SecurityGroups {
  private readonly kept: KeptJson<SecurityGroup>;
  readonly actions: Record<string, Action> = {
    DescribeSecurityGroups: (form) => this.describe(form),
    CreateSecurityGroup: (form, caller) => this.create(form, caller),
    DeleteSecurityGroup: (form) => this.delete(form),
    AuthorizeSecurityGroupIngress: (form) => this.authorize(form, 'ingress'),
    AuthorizeSecurityGroupEgress: (form) => this.authorize(form, 'egress'),
    RevokeSecurityGroupIngress: (form) => this.revoke(form, 'ingress'),
    RevokeSecurityGroupEgress: (form) => this.revoke(form, 'egress'),
  };

  constructor(
    file: string,
    private readonly instances: Instances,
  ) {
    this.kept = new KeptJson(file);
    if (!this.kept.get(SECURITY_GROUP))
      this.save({
        id: SECURITY_GROUP,
        name: 'default',
        description: 'default VPC security group',
        tags: {},
        ingress: [rule({ protocol: '-1', kind: 'group', peer: SECURITY_GROUP })],
        egress: [rule(EVERYWHERE)],
      });
  }

  all(): SecurityGroup[] {
    return this.kept.all();
  }

  save(group: SecurityGroup): void {
    this.kept.set(group.id, group);
  }

  /** @throws AwsError InvalidGroup.NotFound */
  find(id: string): SecurityGroup {
    const found = this.kept.get(id);
    if (!found) throw new AwsError('InvalidGroup.NotFound', `The security group '${id}' does not exist`);
    return found;
  }

  /** A group can be deleted while a terminated instance is still told of. */
  nameOf(id: string): string | undefined {
    return this.kept.get(id)?.name;
  }

  private named(form: Form): SecurityGroup {
    const name = form.text('GroupName');
    if (form.text('GroupId') !== undefined || name === undefined) return this.find(form.required('GroupId'));
    const found = this.all().find((each) => each.name === name);
    if (!found)
      throw new AwsError(
        'InvalidGroup.NotFound',
        `The security group '${name}' does not exist in default VPC '${VPC}'`,
      );
    return found;
  }

  private describe(form: Form): { [name: string]: Xml } {
    const [ids, names] = [form.list('GroupId'), form.list('GroupName')];
    for (const id of ids) this.find(id);
    const missing = names.find((name) => !this.all().some((each) => each.name === name));
    if (missing !== undefined)
      throw new AwsError('InvalidGroup.NotFound', `The security group '${missing}' does not exist`);
    const named = this.all().filter(
      ({ id, name }) => (!ids.length && !names.length) || ids.includes(id) || names.includes(name),
    );
    const peers = (direction: Direction, kind: Rule['kind']) => (group: SecurityGroup) =>
      group[direction].filter((each) => each.kind === kind).map(({ peer }) => peer);
    const found = select<SecurityGroup>(
      form,
      named,
      {
        'group-id': ({ id }) => id,
        'group-name': ({ name }) => name,
        description: ({ description }) => description,
        'vpc-id': () => VPC,
        'owner-id': () => ACCOUNT,
        'ip-permission.group-id': peers('ingress', 'group'),
        'ip-permission.cidr': peers('ingress', 'cidr'),
        'egress.ip-permission.group-id': peers('egress', 'group'),
        'egress.ip-permission.cidr': peers('egress', 'cidr'),
      },
      ({ tags }) => tags,
    );
    const { rows, nextToken } = page(form, found);
    return { securityGroupInfo: rows.map(groupXml), nextToken };
  }

  private create(form: Form, caller: Identity | null): { [name: string]: Xml } {
    const [name, description] = [form.required('GroupName'), form.required('GroupDescription')];
    const vpc = form.text('VpcId') ?? VPC;
    if (vpc !== VPC) throw new AwsError('InvalidVpcID.NotFound', `The vpc ID '${vpc}' does not exist`);
    if (name === 'default')
      throw new AwsError('InvalidParameterValue', 'Cannot use reserved security group name: default');
    if (name.startsWith('sg-') || name.length > 255)
      throw new AwsError('InvalidParameterValue', `Value (${name}) for parameter groupName is invalid.`);
    if (this.all().some((each) => each.name === name))
      throw new AwsError('InvalidGroup.Duplicate', `The security group '${name}' already exists for VPC '${VPC}'`);
    const tags = form.tagSpecifications()['security-group'];
    if (tags) alsoAllow(caller, 'ec2:CreateTags');
    const group: SecurityGroup = {
      id: `sg-${randomBytes(9).toString('hex').slice(0, 17)}`,
      name,
      description,
      tags: tags ?? {},
      ingress: [],
      egress: [rule(EVERYWHERE)],
    };
    this.save(group);
    return { return: true, groupId: group.id, tagSet: tagSet(group.tags) };
  }

  private delete(form: Form): { [name: string]: Xml } {
    const group = this.named(form);
    if (group.id === SECURITY_GROUP)
      throw new AwsError(
        'CannotDelete',
        `the specified group: "${group.id}" name: "default" cannot be deleted by a user`,
      );
    const isUsed = this.instances
      .all()
      .some((each) => this.instances.state(each) !== 'terminated' && each.securityGroups.includes(group.id));
    const refers = ({ id, ingress, egress }: SecurityGroup) =>
      id !== group.id && [...ingress, ...egress].some(({ peer }) => peer === group.id);
    if (isUsed || this.all().some(refers))
      throw new AwsError('DependencyViolation', `resource ${group.id} has a dependent object`);
    this.kept.delete(group.id);
    return { return: true, groupId: group.id };
  }

  private authorize(form: Form, direction: Direction): { [name: string]: Xml } {
    const group = this.named(form);
    const rules = this.readRules(form);
    for (const [index, each] of rules.entries())
      if ([...group[direction], ...rules.slice(0, index)].some((other) => isSameRule(each, other)))
        throw new AwsError(
          'InvalidPermission.Duplicate',
          `the specified rule "peer: ${each.peer}, ${each.protocol === '-1' ? 'ALL' : each.protocol.toUpperCase()}, ${each.from === undefined ? 'ALL' : `from port: ${each.from}, to port: ${each.to}`}, ALLOW" already exists`,
        );
    group[direction].push(...rules);
    this.save(group);
    return {
      return: true,
      securityGroupRuleSet: rules.map((each) => ruleXml(group.id, direction === 'egress', each)),
    };
  }

  /** In a default VPC a rule that does not exist is no error. */
  private revoke(form: Form, direction: Direction): { [name: string]: Xml } {
    const group = this.named(form);
    const ids = form.list('SecurityGroupRuleId');
    const unknownId = ids.find((id) => !group[direction].some((each) => each.id === id));
    if (unknownId !== undefined)
      throw new AwsError(
        'InvalidSecurityGroupRuleId.NotFound',
        `The security group rule ID '${unknownId}' does not exist`,
      );
    const rules = ids.length ? [] : this.readRules(form);
    const isRevoked = (each: Rule) => ids.includes(each.id) || rules.some((other) => isSameRule(each, other));
    const unknown = rules.filter((each) => !group[direction].some((other) => isSameRule(each, other)));
    group[direction] = group[direction].filter((each) => !isRevoked(each));
    this.save(group);
    return { return: true, unknownIpPermissionSet: permissionsXml(unknown) };
  }

  /** @throws AwsError where a rule names a group that does not exist. */
  private readRules(form: Form): Rule[] {
    const rules = readRules(form);
    for (const { kind, peer } of rules) if (kind === 'group') this.find(peer);
    return rules;
  }
}

function groupXml({ id, name, description, tags, ingress, egress }: SecurityGroup): Xml {
  return {
    groupId: id,
    groupName: name,
    groupDescription: description,
    vpcId: VPC,
    ownerId: ACCOUNT,
    ipPermissions: permissionsXml(ingress),
    ipPermissionsEgress: permissionsXml(egress),
    tagSet: tagSet(tags),
  };
}
