import { ec2, MANAGED_TAG, OURS, TAGGED_ON_CREATE, type Statement } from './statement';

const ALL = 'all: the action takes no resource';
const MADE = `resources created with the tag ${MANAGED_TAG}=true`;
const OWN = `resources tagged ${MANAGED_TAG}=true`;
const LINKED = { spot: 'AWSServiceRoleForEC2Spot', ec2fleet: 'AWSServiceRoleForEC2Fleet' };

/** What a caller needs to launch and to terminate instances. */
export const LAUNCH: Statement[] = [
  {
    Sid: 'Launch',
    Action: ['ec2:RunInstances'],
    Resource: ec2('instance', 'volume', 'spot-instances-request'),
    Condition: TAGGED_ON_CREATE,
    on: MADE,
  },
  {
    Sid: 'LaunchFrom',
    Action: ['ec2:RunInstances', 'ec2:CreateFleet'],
    Resource: [
      ...['image', 'snapshot'].map((type) => `arn:\${AWS::Partition}:ec2:\${AWS::Region}::${type}/*`),
      ...ec2('image', 'snapshot', 'subnet', 'security-group', 'network-interface', 'launch-template'),
      ...ec2('placement-group', 'capacity-reservation'),
    ],
    on: 'what an instance is launched from: images, snapshots, subnets, security groups, network interfaces, launch templates, placement groups, capacity reservations',
  },
  {
    Sid: 'Make',
    Action: ['ec2:CreateFleet', 'ec2:CreateLaunchTemplate', 'ec2:CreatePlacementGroup'],
    Resource: ec2('fleet', 'launch-template', 'placement-group'),
    Condition: TAGGED_ON_CREATE,
    on: MADE,
  },
  {
    // What a fleet launches is tagged by its template, which a condition on the fleet's own request does not see.
    Sid: 'FleetInstances',
    Action: ['ec2:CreateFleet'],
    Resource: ec2('instance', 'volume', 'spot-instances-request'),
    on: 'what the fleet launches',
  },
  {
    Sid: 'TagOnCreate',
    Action: ['ec2:CreateTags'],
    Resource: ec2('instance', 'volume', 'spot-instances-request', 'fleet', 'launch-template', 'placement-group'),
    Condition: {
      StringEquals: {
        'ec2:CreateAction': ['RunInstances', 'CreateFleet', 'CreateLaunchTemplate', 'CreatePlacementGroup'],
      },
    },
    on: 'resources that the call creates, and no existing ones',
  },
  {
    Sid: 'PassInstanceRole',
    Action: ['iam:PassRole'],
    Resource: ['${InstanceRole.Arn}'],
    Condition: { StringEquals: { 'iam:PassedToService': 'ec2.${AWS::URLSuffix}' } },
    on: "the instances' role, to EC2",
  },
  ...(['spot', 'ec2fleet'] as const).map((service) => ({
    Sid: service === 'spot' ? 'SpotRole' : 'FleetRole',
    Action: ['iam:CreateServiceLinkedRole'],
    Resource: [
      `arn:\${AWS::Partition}:iam::\${AWS::AccountId}:role/aws-service-role/${service}.amazonaws.com/${LINKED[service]}`,
    ],
    Condition: { StringEquals: { 'iam:AWSServiceName': `${service}.amazonaws.com` } },
    on: `the role ${LINKED[service]}`,
  })),
  {
    Sid: 'EndOwn',
    Action: [
      ...['ec2:StartInstances', 'ec2:StopInstances', 'ec2:TerminateInstances', 'ec2:CancelSpotInstanceRequests'],
      ...['ec2:DeleteFleets', 'ec2:DeleteLaunchTemplate', 'ec2:DeleteVolume', 'ec2:DeletePlacementGroup'],
    ],
    Resource: ec2('instance', 'spot-instances-request', 'fleet', 'launch-template', 'volume', 'placement-group'),
    Condition: OURS,
    on: OWN,
  },
  {
    Sid: 'PublicImages',
    Action: ['ssm:GetParameters'],
    Resource: ['arn:${AWS::Partition}:ssm:${AWS::Region}::parameter/aws/service/*'],
    on: "AWS's public parameters",
  },
  {
    Sid: 'LookFurther',
    Action: [
      ...['InstanceTypes', 'InstanceTypeOfferings', 'Images', 'Subnets', 'SpotPriceHistory', 'SpotInstanceRequests'],
      ...[
        'SecurityGroups',
        'Volumes',
        'LaunchTemplates',
        'Tags',
        'Fleets',
        'FleetHistory',
        'PlacementGroups',
        'CapacityReservations',
      ],
    ]
      .map((what) => `ec2:Describe${what}`)
      .concat('pricing:GetProducts', 'servicequotas:GetServiceQuota', 'servicequotas:GetAWSDefaultServiceQuota'),
    Resource: '*',
    on: ALL,
  },
];
