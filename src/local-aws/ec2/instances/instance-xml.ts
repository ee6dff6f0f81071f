import { ACCOUNT } from '../../protocol/identity';
import type { InstanceState, LocalInstance } from '../../instance/instances';
import { findImage } from '../../catalog/images';
import { VPC, type Zone } from '../../catalog/network';
import type { PlacementGroup } from '../network/placement-groups';
import type { CapacityReservation } from '../reservations/capacity-reservations';
import type { Volume } from '../volumes/volumes';
import { tagSet, timestamp, type Xml } from '../request/xml';

const CODES: Record<InstanceState, number> = {
  pending: 0,
  running: 16,
  'shutting-down': 32,
  terminated: 48,
  stopping: 64,
  stopped: 80,
};

export function stateXml(state: InstanceState): Xml {
  return { code: CODES[state], name: state };
}

/** What is told of an instance besides its record. */
interface Described {
  state: InstanceState;
  zone: Zone;
  volumes: Volume[];
  placementGroup: PlacementGroup | undefined;
  reservation: CapacityReservation | undefined;
  groups: { groupId: string; groupName: string | undefined }[];
}

/** An instance as DescribeInstances and RunInstances tell of it. */
export function instanceXml(
  instance: LocalInstance,
  { state, zone, volumes, groups, placementGroup, reservation }: Described,
): Xml {
  const image = findImage(instance.image);
  const gone = state === 'terminated';
  const up = state === 'running' || state === 'pending';
  return {
    instanceId: instance.id,
    imageId: instance.image,
    instanceState: stateXml(state),
    instanceType: instance.type,
    amiLaunchIndex: instance.index,
    launchTime: timestamp(instance.launched),
    placement: {
      availabilityZone: instance.zone,
      groupName: placementGroup?.name ?? '',
      groupId: placementGroup?.id,
      tenancy: 'default',
    },
    architecture: image?.architecture ?? 'x86_64',
    rootDeviceType: 'ebs',
    rootDeviceName: image?.rootDevice,
    virtualizationType: 'hvm',
    clientToken: instance.clientToken ?? '',
    reason: instance.reason?.transition ?? '',
    stateReason: stateReason(instance, state),
    instanceLifecycle: lifecycle(instance, reservation),
    capacityReservationId: reservation?.id,
    spotInstanceRequestId: instance.spotRequest,
    iamInstanceProfile:
      instance.profile === null
        ? undefined
        : {
            arn: `arn:aws:iam::${ACCOUNT}:instance-profile/${instance.profile}`,
            id: 'AIPALOCALLOCALLOCAL1',
          },
    metadataOptions: {
      state: 'applied',
      httpTokens: instance.httpTokens,
      httpPutResponseHopLimit: 2,
      httpEndpoint: 'enabled',
    },
    blockDeviceMapping: volumes.map(diskXml),
    tagSet: tagSet(instance.tags),
    ...(gone
      ? {}
      : {
          vpcId: VPC,
          subnetId: zone.subnet,
          privateIpAddress: instance.privateIp,
          ipAddress: up ? instance.publicIp : undefined,
          groupSet: groups,
        }),
  };
}

function diskXml({ id, created, attachment }: Volume): Xml {
  return {
    deviceName: attachment!.device,
    ebs: {
      volumeId: id,
      status: 'attached',
      attachTime: timestamp(created),
      deleteOnTermination: attachment!.deleteOnTermination,
    },
  };
}

function lifecycle({ spotRequest }: LocalInstance, reservation: CapacityReservation | undefined): Xml {
  if (spotRequest !== undefined) return 'spot';
  return reservation?.kind === 'capacity-block' ? 'capacity-block' : undefined;
}

function stateReason({ reason }: LocalInstance, state: InstanceState): Xml {
  if (state === 'pending') return { code: 'pending', message: 'pending' };
  return reason && { code: reason.code, message: reason.message };
}
