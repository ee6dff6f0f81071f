import type { Action } from './request/action';
import { IMAGES, type Image } from '../catalog/images';
import { INSTANCE_TYPES, instanceType, type InstanceType, type NetworkCards } from '../catalog/instance-types';
import type { Vpc, Zone } from '../catalog/network';
import type { Form } from './request/form';
import { page, select } from './request/select';
import type { Xml } from './request/xml';
import { AwsError } from '../protocol/aws-error';

/** What a region has without anybody's making it. */
export function catalogActions({ zones, region }: Vpc): Record<string, Action> {
  return {
    DescribeImages: (form) => ({ imagesSet: describeImages(form).map(imageXml) }),
    DescribeInstanceTypes: describeTypes,
    DescribeInstanceTypeOfferings: (form) => describeOfferings(form, zones, region),
    DescribeAvailabilityZones: (form) => ({ availabilityZoneInfo: describeZones(form, zones, region) }),
  };
}

function describeImages(form: Form): Image[] {
  const ids = form.list('ImageId');
  const missing = ids.filter((id) => !IMAGES.some((image) => image.id === id));
  if (missing.length)
    throw new AwsError('InvalidAMIID.NotFound', `The image id '[${missing.join(', ')}]' does not exist`);
  const owners = form.list('Owner');
  return select<Image>(
    form,
    IMAGES.filter(
      ({ id, owner, ownerAlias }) =>
        (!ids.length || ids.includes(id)) &&
        (!owners.length || owners.includes(owner) || (ownerAlias !== undefined && owners.includes(ownerAlias))),
    ),
    {
      'image-id': ({ id }) => id,
      name: ({ name }) => name,
      architecture: ({ architecture }) => architecture,
      state: () => 'available',
      'owner-id': ({ owner }) => owner,
      'owner-alias': ({ ownerAlias }) => ownerAlias,
      'root-device-type': () => 'ebs',
      'virtualization-type': () => 'hvm',
    },
  );
}

function imageXml(image: Image): Xml {
  return {
    imageId: image.id,
    name: image.name,
    description: image.description,
    architecture: image.architecture,
    imageOwnerId: image.owner,
    imageOwnerAlias: image.ownerAlias,
    imageState: 'available',
    imageType: 'machine',
    isPublic: true,
    imdsSupport: 'v2.0',
    creationDate: '2024-10-11T00:00:00.000Z',
    platformDetails: 'Linux/UNIX',
    rootDeviceType: 'ebs',
    rootDeviceName: image.rootDevice,
    virtualizationType: 'hvm',
    blockDeviceMapping: [
      {
        deviceName: image.rootDevice,
        ebs: {
          snapshotId: image.snapshot,
          volumeSize: image.size,
          volumeType: 'gp3',
          encrypted: false,
          deleteOnTermination: true,
        },
      },
    ],
  };
}

function describeTypes(form: Form): { [name: string]: Xml } {
  const names = form.list('InstanceType');
  const unknown = names.filter((name) => !instanceType(name));
  if (unknown.length)
    throw new AwsError(
      'InvalidInstanceType',
      `The following supplied instance types do not exist: [${unknown.join(', ')}]`,
    );
  const named = INSTANCE_TYPES.filter(({ name }) => !names.length || names.includes(name));
  const { rows, nextToken } = page(
    form,
    select<InstanceType>(form, named, {
      'instance-type': ({ name }) => name,
      'processor-info.supported-architecture': ({ architecture }) => architecture,
      'vcpu-info.default-vcpus': ({ cpus }) => String(cpus),
      'network-info.efa-supported': ({ network }) => String(network.efa !== undefined),
      'memory-info.size-in-mib': ({ memory }) => String(memory),
    }),
  );
  return { instanceTypeSet: rows.map(typeXml), nextToken };
}

function typeXml({ name, cpus, memory, architecture, gpu, network, burstable = false }: InstanceType): Xml {
  return {
    instanceType: name,
    currentGeneration: true,
    supportedUsageClasses: ['on-demand', 'spot'],
    supportedRootDeviceTypes: ['ebs'],
    supportedVirtualizationTypes: ['hvm'],
    bareMetal: false,
    burstablePerformanceSupported: burstable,
    placementGroupInfo: {
      supportedStrategies: burstable ? ['partition', 'spread'] : ['cluster', 'partition', 'spread'],
    },
    processorInfo: { supportedArchitectures: [architecture] },
    vCpuInfo: { defaultVCpus: cpus },
    memoryInfo: { sizeInMiB: memory },
    networkInfo: networkXml(network),
    gpuInfo: gpu && {
      gpus: [{ name: gpu.name, manufacturer: 'NVIDIA', count: gpu.count, memoryInfo: { sizeInMiB: gpu.memory } }],
      totalGpuMemoryInMiB: gpu.count * gpu.memory,
    },
  };
}

function networkXml({ interfaces, cards = 1, efa }: NetworkCards): Xml {
  return {
    maximumNetworkInterfaces: interfaces * cards,
    maximumNetworkCards: cards,
    defaultNetworkCardIndex: 0,
    networkCards: Array.from({ length: cards }, (_, index) => ({
      networkCardIndex: index,
      maximumNetworkInterfaces: interfaces,
    })),
    enaSupport: 'required',
    efaSupported: efa !== undefined,
    efaInfo: efa === undefined ? undefined : { maximumEfaInterfaces: efa },
  };
}

function describeOfferings(form: Form, zones: Zone[], region: string): { [name: string]: Xml } {
  const locationType = form.text('LocationType') ?? 'region';
  const locations =
    locationType === 'availability-zone'
      ? zones.map(({ name }) => ({ location: name, letter: name.slice(-1) }))
      : [{ location: region, letter: undefined }];
  const offered = INSTANCE_TYPES.flatMap(({ name, zones: letters }) =>
    locations
      .filter(({ letter }) => letter === undefined || letters === undefined || letters.includes(letter))
      .map(({ location }) => ({ instanceType: name, locationType, location })),
  );
  const { rows, nextToken } = page(
    form,
    select(form, offered, {
      'instance-type': (each) => each.instanceType,
      location: (each) => each.location,
    }),
  );
  return { instanceTypeOfferingSet: rows, nextToken };
}

function describeZones(form: Form, zones: Zone[], region: string): Xml[] {
  const names = form.list('ZoneName');
  const missing = names.find((name) => !zones.some((zone) => zone.name === name));
  if (missing !== undefined) throw new AwsError('InvalidParameterValue', `Invalid availability zone: [${missing}]`);
  const named = zones.filter(({ name }) => !names.length || names.includes(name));
  return select<Zone>(form, named, {
    'zone-name': ({ name }) => name,
    'zone-id': ({ id }) => id,
    'region-name': () => region,
    state: () => 'available',
    'zone-type': () => 'availability-zone',
  }).map(({ name, id }) => ({
    zoneName: name,
    zoneId: id,
    zoneState: 'available',
    regionName: region,
    zoneType: 'availability-zone',
    optInStatus: 'opt-in-not-required',
  }));
}
