import type { Instance } from '@aws-sdk/client-ec2';
import { sdk } from '../sdk';
import type { Unsigned } from './http';

/** The version of EC2's API that the SDK asks for as well. */
const API_VERSION = '2016-11-15';

export interface DescribeInstancesInput {
  InstanceIds?: string[];
  Filters?: { Name?: string; Values?: string[] }[];
  NextToken?: string;
}

export interface DescribeInstancesOutput {
  /** Each with the fields that `toInstanceInfo` and `find` read. */
  Reservations?: { Instances?: Instance[] }[];
  NextToken?: string;
}

/** As EC2's query protocol writes it (EC2 API reference, "Query requests"). */
export function describeInstancesRequest({ InstanceIds, Filters, NextToken }: DescribeInstancesInput): Unsigned {
  const form = new URLSearchParams({ Action: 'DescribeInstances', Version: API_VERSION });
  InstanceIds?.forEach((id, index) => form.set(`InstanceId.${index + 1}`, id));
  Filters?.forEach(({ Name = '', Values = [] }, index) => {
    form.set(`Filter.${index + 1}.Name`, Name);
    Values.forEach((value, at) => form.set(`Filter.${index + 1}.Value.${at + 1}`, value));
  });
  if (NextToken) form.set('NextToken', NextToken);
  return {
    method: 'POST',
    path: '/',
    headers: { 'Content-Type': 'application/x-www-form-urlencoded; charset=utf-8' },
    body: form.toString(),
  };
}

type Element = { [name: string]: Element | Element[] | string | undefined };

/** @throws Error where it is no answer of DescribeInstances. */
export function parseInstances(xml: string): DescribeInstancesOutput {
  const parser = new (sdk.xml().XMLParser)({
    parseTagValue: false,
    trimValues: false,
    htmlEntities: true,
    ignoreAttributes: true,
    ignoreDeclaration: true,
    isArray: (name) => name === 'item',
  });
  const answer = (parser.parse(xml) as Element).DescribeInstancesResponse as Element | undefined;
  if (!answer || typeof answer !== 'object') throw new Error('no DescribeInstancesResponse');
  return {
    Reservations: items(answer.reservationSet).map(({ instancesSet }) => ({
      Instances: items(instancesSet).map(toInstance),
    })),
    NextToken: text(answer.nextToken),
  };
}

function toInstance(element: Element): Instance {
  const { instanceState, placement, iamInstanceProfile, stateReason, launchTime } = element as Record<string, Element>;
  const launched = text(launchTime);
  return {
    InstanceId: text(element.instanceId),
    InstanceType: text(element.instanceType) as Instance['InstanceType'],
    State: instanceState && {
      Code: Number(text(instanceState.code)),
      Name: text(instanceState.name) as 'running' | undefined,
    },
    Placement: placement && {
      AvailabilityZone: text(placement.availabilityZone),
      GroupName: text(placement.groupName),
    },
    SubnetId: text(element.subnetId),
    VpcId: text(element.vpcId),
    PrivateIpAddress: text(element.privateIpAddress),
    SecurityGroups: items(element.groupSet).map(({ groupId }) => ({ GroupId: text(groupId) })),
    AmiLaunchIndex: Number(text(element.amiLaunchIndex) ?? 0),
    InstanceLifecycle: text(element.instanceLifecycle) as Instance['InstanceLifecycle'],
    SpotInstanceRequestId: text(element.spotInstanceRequestId),
    ClientToken: text(element.clientToken),
    LaunchTime: launched ? new Date(launched) : undefined,
    IamInstanceProfile: iamInstanceProfile && { Arn: text(iamInstanceProfile.arn) },
    StateReason: stateReason && { Code: text(stateReason.code), Message: text(stateReason.message) },
    Tags: items(element.tagSet).map(({ key, value }) => ({ Key: text(key), Value: text(value) ?? '' })),
  };
}

function items(list: unknown): Element[] {
  return ((list as { item?: Element[] } | undefined)?.item ?? []) as Element[];
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
