import { findImage, type Image } from '../../catalog/images';
import { instanceType, type InstanceType } from '../../catalog/instance-types';
import { SECURITY_GROUP, type Zone } from '../../catalog/network';
import type { InstanceProfiles } from '../instances/profiles';
import type { CapacityReservations, ReservationChoice } from '../reservations/capacity-reservations';
import { checkReservation, zonesOfReservation } from './reservation-check';
import { checkInterfaces } from './network-interfaces';
import type { PlacementGroup, PlacementGroups } from '../network/placement-groups';
import type { SecurityGroups } from '../network/security-groups';
import type { DiskSpec, LaunchSpec } from '../request/launch-specification';
import { AwsError } from '../../protocol/aws-error';

/** A launch that says nothing that EC2 refuses. */
export interface CheckedLaunch {
  image: Image;
  type: InstanceType;
  /** Those that would do: one where it was chosen. */
  zones: Zone[];
  chosen: boolean;
  securityGroups: string[];
  placementGroup?: PlacementGroup;
  /** The root's first. */
  disks: DiskSpec[];
  profile: string | null;
  spot: boolean;
  reservation: ReservationChoice;
  spec: LaunchSpec;
}

/** What a launch can name. */
export interface LaunchNames {
  zones: Zone[];
  profiles: InstanceProfiles;
  groups: SecurityGroups;
  placementGroups: PlacementGroups;
  reservations: CapacityReservations;
}

const DEFAULT_TYPE = 't3.micro';
const MAX_USER_DATA_BYTES = 16_384;
const TAGGABLE = ['instance', 'volume', 'spot-instances-request', 'network-interface'];

/** @throws AwsError as EC2 refuses it, in its own order: what is wrong with the words comes first. */
export function checkLaunch(spec: LaunchSpec, names: LaunchNames): CheckedLaunch {
  const image = checkImage(spec.image);
  const type = instanceType(spec.type ?? DEFAULT_TYPE);
  if (!type) throw invalid(`Invalid value '${spec.type}' for InstanceType.`);
  if (type.architecture !== image.architecture)
    throw invalid(
      `The architecture '${type.architecture}' of the specified instance type does not match the architecture '${image.architecture}' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again. You can use 'describe-instance-types' or 'describe-images' to discover the architecture of the instance type or AMI.`,
    );
  if (spec.keyName !== undefined)
    throw new AwsError('InvalidKeyPair.NotFound', `The key pair '${spec.keyName}' does not exist`);
  for (const group of spec.securityGroups ?? []) names.groups.find(group);
  for (const resource of Object.keys(spec.tags ?? {}))
    if (!TAGGABLE.includes(resource)) throw invalid(`'${resource}' is not a valid taggable resource type.`);
  oneOf('HttpTokens', spec.httpTokens, ['required', 'optional']);
  oneOf('InstanceInitiatedShutdownBehavior', spec.shutdownBehavior, ['stop', 'terminate']);
  checkUserData(spec.userData);
  checkInterfaces(spec, type);
  const reservation = checkReservation(spec, names.reservations);
  const offered = checkZones(spec, type, names.zones);
  const zones = zonesOfReservation(reservation, names.reservations, type, offered);
  const placementGroup = spec.placementGroup && names.placementGroups.find(spec.placementGroup);
  return {
    image,
    type,
    zones: placementGroup ? checkPlacement(placementGroup, type, zones, names.placementGroups) : zones,
    placementGroup,
    chosen: spec.subnet !== undefined || spec.zone !== undefined,
    securityGroups: spec.securityGroups ?? [SECURITY_GROUP],
    disks: checkDisks(spec.disks ?? [], image),
    spot: checkMarket(spec),
    reservation,
    profile: spec.profile === undefined ? null : names.profiles.find(spec.profile),
    spec,
  };
}

function checkImage(id: string | undefined): Image {
  if (!id) throw new AwsError('MissingParameter', 'The request must contain the parameter ImageId');
  if (!/^ami-([0-9a-f]{8}|[0-9a-f]{17})$/.test(id))
    throw new AwsError('InvalidAMIID.Malformed', `Invalid id: "${id}" (expecting "ami-...")`);
  const found = findImage(id);
  if (!found) throw new AwsError('InvalidAMIID.NotFound', `The image id '[${id}]' does not exist`);
  return found;
}

function checkUserData(userData: string | undefined): void {
  if (userData === undefined) return;
  if (!/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(userData)) throw invalid('Invalid BASE64 encoding of user data');
  if (Buffer.from(userData, 'base64').length > MAX_USER_DATA_BYTES)
    throw invalid(`User data is limited to ${MAX_USER_DATA_BYTES} bytes`);
}

function checkZones({ subnet, zone }: LaunchSpec, { name, zones: letters }: InstanceType, zones: Zone[]): Zone[] {
  const offered = zones.filter((each) => letters === undefined || letters.includes(each.name.slice(-1)));
  if (subnet === undefined && zone === undefined) return offered;
  const found = zones.find((each) => (subnet === undefined ? each.name === zone : each.subnet === subnet));
  if (!found && subnet !== undefined)
    throw new AwsError('InvalidSubnetID.NotFound', `The subnet ID '${subnet}' does not exist`);
  if (!found || (zone !== undefined && found.name !== zone)) throw invalid(`Invalid availability zone: [${zone}]`);
  if (!offered.includes(found))
    throw new AwsError(
      'Unsupported',
      `Your requested instance type (${name}) is not supported in your requested Availability Zone (${found.name}). Please retry your request by not specifying an Availability Zone or choosing ${offered.map((each) => each.name).join(', ')}.`,
    );
  return [found];
}

/** The zones of a cluster group: all, or that of its instances. */
function checkPlacement(
  group: PlacementGroup,
  { name, burstable }: InstanceType,
  zones: Zone[],
  groups: PlacementGroups,
): Zone[] {
  if (burstable)
    throw new AwsError(
      'InvalidParameterCombination',
      `Cluster placement groups are not supported by the '${name}' instance type. Specify a supported instance type or change the placement group strategy, and try again.`,
    );
  const zone = groups.zone(group);
  const left = zones.filter((each) => zone === undefined || each.name === zone);
  if (!left.length)
    throw new AwsError(
      'InvalidPlacementGroup.InUse',
      `The placement group '${group.name}' is already in use in the Availability Zone ${zone}.`,
    );
  return left;
}

/** A mapping of the root's name changes the root; one of another name makes another volume. */
function checkDisks(disks: DiskSpec[], { rootDevice, size, snapshot }: Image): DiskSpec[] {
  const root = disks.find(({ device }) => device === rootDevice);
  if (root?.size !== undefined && root.size < size)
    throw new AwsError(
      'InvalidBlockDeviceMapping',
      `Volume of size ${root.size}GB is smaller than snapshot '${snapshot}', expect size >= ${size}GB`,
    );
  const others = disks.filter(({ device }) => device !== rootDevice);
  for (const other of others)
    if (other.size === undefined)
      throw new AwsError('MissingParameter', 'The request must contain the parameter size or snapshotId');
  for (const { type } of disks) oneOf('volumeType', type, ['gp3', 'gp2', 'io1', 'io2', 'st1', 'sc1', 'standard']);
  return [{ size, deleteOnTermination: true, ...root, device: rootDevice }, ...others];
}

function checkMarket({ market }: LaunchSpec): boolean {
  if (!market) return false;
  oneOf('MarketType', market.type, ['spot', 'capacity-block']);
  if (market.type === 'capacity-block') return false;
  oneOf('SpotInstanceType', market.spotType, ['one-time', 'persistent']);
  if (market.spotType === 'persistent' || (market.interruption ?? 'terminate') !== 'terminate')
    throw new AwsError('UnsupportedOperation', 'Local AWS has one-time spot instances that are terminated.');
  return true;
}

function oneOf(name: string, value: string | undefined, values: string[]): void {
  if (value !== undefined && !values.includes(value)) throw invalid(`Invalid value '${value}' for ${name}.`);
}

function invalid(message: string): AwsError {
  return new AwsError('InvalidParameterValue', message);
}
