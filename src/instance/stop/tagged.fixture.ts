import {
  CreateFleetCommand,
  CreateLaunchTemplateCommand,
  DescribeInstancesCommand,
  RunInstancesCommand,
  type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2';
import type { Fixture } from '../../local-aws/local-aws.fixture';

/** An instance with these tags, as whoever may launch one can have it. */
export async function launchTagged(
  { ec2 }: Fixture,
  tags: Record<string, string>,
  more: Partial<RunInstancesCommandInput> = {},
): Promise<string> {
  const Tags = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
  const { Instances } = await ec2.send(
    new RunInstancesCommand({
      ImageId: 'ami-00000000000000001',
      InstanceType: 't3.micro',
      MinCount: 1,
      MaxCount: 1,
      IamInstanceProfile: { Name: 'training' },
      ...(Tags.length ? { TagSpecifications: [{ ResourceType: 'instance' as const, Tags }] } : {}),
      ...more,
    }),
  );
  return Instances![0].InstanceId!;
}

/** What EC2 says of instances, as a client reads it. */
export async function describeInstances(
  { ec2 }: Fixture,
  ...ids: string[]
): Promise<{ id: string; state: string; tags: Record<string, string> }[]> {
  const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: ids }));
  return Reservations.flatMap(({ Instances = [] }) => Instances).map(({ InstanceId, State, Tags = [] }) => ({
    id: InstanceId!,
    state: State!.Name!,
    tags: Object.fromEntries(Tags.map(({ Key, Value }) => [Key!, Value ?? ''])),
  }));
}

/** A fleet of one spot instance, and its launch template, with these tags; what it launches has none. @returns its id. */
export async function fleetTagged({ ec2 }: Fixture, template: string, tags: Record<string, string>): Promise<string> {
  const Tags = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
  await ec2.send(
    new CreateLaunchTemplateCommand({
      LaunchTemplateName: template,
      LaunchTemplateData: { ImageId: 'ami-00000000000000001', InstanceType: 't3.micro' },
      TagSpecifications: [{ ResourceType: 'launch-template', Tags }],
    }),
  );
  const { FleetId } = await ec2.send(
    new CreateFleetCommand({
      Type: 'maintain',
      TargetCapacitySpecification: { TotalTargetCapacity: 1, DefaultTargetCapacityType: 'spot' },
      LaunchTemplateConfigs: [
        { LaunchTemplateSpecification: { LaunchTemplateName: template, Version: '$Latest' }, Overrides: [] },
      ],
      TagSpecifications: [{ ResourceType: 'fleet', Tags }],
    }),
  );
  return FleetId!;
}
