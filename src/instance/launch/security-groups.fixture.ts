import {
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  type IpPermission,
} from '@aws-sdk/client-ec2';
import { VPC } from '../../local-aws/catalog/network';
import type { Fixture } from '../../local-aws/local-aws.fixture';

let groups = 0;

/** Makes a security group with these rules for what comes in. @returns its id. */
export async function makeGroup(at: Fixture, ...rules: IpPermission[]): Promise<string> {
  const made = { GroupName: `nodes ${++groups}`, Description: 'nodes', VpcId: VPC };
  const { GroupId } = await at.ec2.send(new CreateSecurityGroupCommand(made));
  if (rules.length) await authorize(at, GroupId!, ...rules);
  return GroupId!;
}

export function authorize(at: Fixture, GroupId: string, ...IpPermissions: IpPermission[]): Promise<unknown> {
  return at.ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId, IpPermissions }));
}

/** A rule for all that comes from a group. */
export function from(GroupId: string, more: Partial<IpPermission> = {}): IpPermission {
  return { IpProtocol: '-1', UserIdGroupPairs: [{ GroupId }], ...more };
}
