import { VPC, type Vpc, type Zone } from '../../catalog/network';
import { ACCOUNT } from '../../protocol/identity';
import { AwsError } from '../../protocol/aws-error';
import type { Action } from '../request/action';
import type { Form } from '../request/form';
import { select } from '../request/select';
import type { Xml } from '../request/xml';

/** @param addresses how many a zone's subnet has left. */
export function subnetActions({ zones, cidr }: Vpc, addresses: (zone: string) => number): Record<string, Action> {
  return {
    DescribeSubnets: (form) => ({ subnetSet: describeSubnets(form, zones, addresses) }),
    DescribeVpcs: (form) => ({ vpcSet: describeVpcs(form, cidr) }),
  };
}

function describeSubnets(form: Form, zones: Zone[], addresses: (zone: string) => number): Xml[] {
  const ids = form.list('SubnetId');
  const missing = ids.find((id) => !zones.some(({ subnet }) => subnet === id));
  if (missing !== undefined)
    throw new AwsError('InvalidSubnetID.NotFound', `The subnet ID '${missing}' does not exist`);
  const named = zones.filter(({ subnet }) => !ids.length || ids.includes(subnet));
  return select<Zone>(form, named, {
    'subnet-id': ({ subnet }) => subnet,
    'vpc-id': () => VPC,
    'availability-zone': ({ name }) => name,
    'default-for-az': () => 'true',
    state: () => 'available',
  }).map(({ name, id, subnet, cidr }) => ({
    subnetId: subnet,
    vpcId: VPC,
    cidrBlock: cidr,
    availabilityZone: name,
    availabilityZoneId: id,
    availableIpAddressCount: addresses(name),
    defaultForAz: true,
    mapPublicIpOnLaunch: true,
    ownerId: ACCOUNT,
    state: 'available',
  }));
}

function describeVpcs(form: Form, cidr: string): Xml[] {
  const missing = form.list('VpcId').find((id) => id !== VPC);
  if (missing !== undefined) throw new AwsError('InvalidVpcID.NotFound', `The vpc ID '${missing}' does not exist`);
  return select(form, [VPC], {
    'vpc-id': (id) => id,
    'is-default': () => 'true',
    isDefault: () => 'true',
    state: () => 'available',
  }).map((vpcId) => ({
    vpcId,
    cidrBlock: cidr,
    isDefault: true,
    ownerId: ACCOUNT,
    state: 'available',
  }));
}
