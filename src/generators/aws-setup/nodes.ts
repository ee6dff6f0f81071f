import type { Json } from './render';

/** The security group of instances that train together: open to each other, and closed to all others. */
export const NODES_GROUP = 'NodesGroup';

/**
 * EFA traffic needs rules, in both directions, that name the group. A group of CloudFormation can't name itself, so these
 * rules are resources of their own.
 */
export function nodesResources({ vpc }: { vpc: string }): Json {
  const group = { Ref: NODES_GROUP };
  return {
    [NODES_GROUP]: {
      Type: 'AWS::EC2::SecurityGroup',
      Properties: {
        GroupDescription: 'nx-ec2: instances that train together reach each other, also by EFA',
        VpcId: vpc,
        SecurityGroupEgress: [{ IpProtocol: '-1', CidrIp: '0.0.0.0/0' }],
      },
    },
    NodesIngress: {
      Type: 'AWS::EC2::SecurityGroupIngress',
      Properties: { GroupId: group, IpProtocol: '-1', SourceSecurityGroupId: group },
    },
    NodesEgress: {
      Type: 'AWS::EC2::SecurityGroupEgress',
      Properties: { GroupId: group, IpProtocol: '-1', DestinationSecurityGroupId: group },
    },
  };
}

/** For the template's outputs. */
export const NODES_OUTPUT: Json = {
  [NODES_GROUP]: {
    Description: 'The security group of instances that train together: "instance.securityGroups"',
    Value: { Ref: NODES_GROUP },
  },
};
