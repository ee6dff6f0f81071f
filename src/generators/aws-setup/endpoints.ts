import { NODES_GROUP } from './nodes';
import type { Endpoints } from './options';
import type { Json } from './render';

/** What instances in a subnet without a way out reach: S3 by the route tables, Systems Manager by an address in each subnet. */
export function endpointResources(endpoints: Endpoints, recovery: boolean, nodes: boolean): Json {
  const { vpc, subnets, routeTables } = endpoints;
  const securityGroups = [...endpoints.securityGroups, ...(nodes ? [{ Ref: NODES_GROUP }] : [])];
  const apart = securityGroups.length > 0;
  const name = (service: string) => ({ 'Fn::Sub': `com.amazonaws.\${AWS::Region}.${service}` });
  const services = ['ssm', 'ssmmessages', 'ec2messages', ...(recovery ? ['ec2'] : [])];
  const byAddress = services.map((service) => [
    `${service[0].toUpperCase()}${service.slice(1)}Endpoint`,
    {
      Type: 'AWS::EC2::VPCEndpoint',
      Properties: {
        VpcEndpointType: 'Interface',
        ServiceName: name(service),
        VpcId: vpc,
        SubnetIds: subnets,
        PrivateDnsEnabled: true,
        // Absent: the VPC's own group, which lets its members in.
        ...(apart ? { SecurityGroupIds: [{ Ref: 'EndpointGroup' }] } : {}),
      },
    },
  ]);
  return {
    S3Endpoint: {
      Type: 'AWS::EC2::VPCEndpoint',
      Properties: { VpcEndpointType: 'Gateway', ServiceName: name('s3'), VpcId: vpc, RouteTableIds: routeTables },
    },
    ...(apart
      ? {
          EndpointGroup: {
            Type: 'AWS::EC2::SecurityGroup',
            Properties: {
              GroupDescription: 'nx-ec2: the instances reach the endpoints of Systems Manager',
              VpcId: vpc,
              SecurityGroupIngress: securityGroups.map((group) => ({
                IpProtocol: 'tcp',
                FromPort: 443,
                ToPort: 443,
                SourceSecurityGroupId: group,
              })),
            },
          },
        }
      : {}),
    ...Object.fromEntries(byAddress),
  };
}
