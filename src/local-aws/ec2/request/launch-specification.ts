import { AwsError } from '../../protocol/aws-error';
import type { Form } from './form';

/** A disk of an instance, as its launch asks for it. */
export interface DiskSpec {
  device: string;
  /** GiB. */
  size?: number;
  type?: string;
  encrypted?: boolean;
  deleteOnTermination?: boolean;
}

/** A network interface of an instance, as its launch asks for it. */
export interface InterfaceSpec {
  card: number;
  device: number;
  type: string;
}

/** How a request names a placement group: by its id or its name. */
export interface PlacementGroupName {
  id?: string;
  name?: string;
}

/** What a launch, or the template of one, says; all of it may be absent. */
export interface LaunchSpec {
  image?: string;
  type?: string;
  zone?: string;
  subnet?: string;
  placementGroup?: PlacementGroupName;
  securityGroups?: string[];
  disks?: DiskSpec[];
  httpTokens?: 'required' | 'optional';
  shutdownBehavior?: 'stop' | 'terminate';
  /** The name of an instance profile, or its ARN. */
  profile?: string;
  /** Base64. */
  userData?: string;
  keyName?: string;
  interfaces?: InterfaceSpec[];
  publicIp?: boolean;
  reservation?: { preference?: string; target?: string };
  market?: { type?: string; spotType?: string; interruption?: string };
  /** By the type of resource. */
  tags?: Record<string, Record<string, string>>;
}

export function readLaunchSpec(form: Form): LaunchSpec {
  const interfaces = form.parts('NetworkInterface');
  const [network] = interfaces as (Form | undefined)[];
  const groups = [...form.list('SecurityGroupId'), ...(network?.list('SecurityGroupId') ?? [])];
  const disks = form.parts('BlockDeviceMapping').map(readDisk);
  const tags = form.tagSpecifications();
  const market = form.part('InstanceMarketOptions');
  const spot = market?.part('SpotOptions');
  return {
    image: form.text('ImageId'),
    type: form.text('InstanceType'),
    zone: form.text('Placement.AvailabilityZone'),
    placementGroup: readPlacementGroup(form),
    subnet: form.text('SubnetId') ?? network?.text('SubnetId'),
    securityGroups: groups.length ? groups : undefined,
    disks: disks.length ? disks : undefined,
    httpTokens: form.text('MetadataOptions.HttpTokens') as LaunchSpec['httpTokens'],
    shutdownBehavior: form.text('InstanceInitiatedShutdownBehavior') as LaunchSpec['shutdownBehavior'],
    profile: form.text('IamInstanceProfile.Name') ?? form.text('IamInstanceProfile.Arn'),
    userData: form.text('UserData'),
    keyName: form.text('KeyName'),
    interfaces: interfaces.length ? interfaces.map(readInterface) : undefined,
    publicIp: network?.flag('AssociatePublicIpAddress'),
    market: market && {
      type: market.text('MarketType'),
      spotType: spot?.text('SpotInstanceType'),
      interruption: spot?.text('InstanceInterruptionBehavior'),
    },
    reservation: readReservation(form.part('CapacityReservationSpecification')),
    tags: Object.keys(tags).length ? tags : undefined,
  };
}

/** @throws AwsError where it names a group twice. */
export function readPlacementGroup(form: Form): PlacementGroupName | undefined {
  const [id, name] = [form.text('Placement.GroupId'), form.text('Placement.GroupName')];
  if (id !== undefined && name !== undefined)
    throw new AwsError('InvalidParameterCombination', 'The parameters GroupId and GroupName can not be used together.');
  return (id ?? name) ? { id, name } : undefined;
}

/** What the one says, and what it doesn't say as the other has it. */
export function overSpec(spec: LaunchSpec, template: LaunchSpec): LaunchSpec {
  const said = Object.entries(spec).filter(([, value]) => value !== undefined);
  return { ...template, ...(Object.fromEntries(said) as LaunchSpec) };
}

function readReservation(form: Form | undefined): LaunchSpec['reservation'] {
  const target = form?.part('CapacityReservationTarget');
  if (target?.text('CapacityReservationResourceGroupArn') !== undefined)
    throw new AwsError('UnsupportedOperation', 'Local AWS has no groups of capacity reservations.');
  return (
    form && {
      preference: form.text('CapacityReservationPreference'),
      target: target?.text('CapacityReservationId'),
    }
  );
}

function readInterface(form: Form): InterfaceSpec {
  return {
    card: form.number('NetworkCardIndex') ?? 0,
    device: form.number('DeviceIndex') ?? 0,
    type: form.text('InterfaceType') ?? 'interface',
  };
}

function readDisk(form: Form): DiskSpec {
  const ebs = form.part('Ebs');
  return {
    device: form.required('DeviceName'),
    size: ebs?.number('VolumeSize'),
    type: ebs?.text('VolumeType'),
    encrypted: ebs?.flag('Encrypted'),
    deleteOnTermination: ebs?.flag('DeleteOnTermination'),
  };
}
