import type { FleetData, Instance, LaunchTemplate, PlacementGroup, Tag, Volume } from '@aws-sdk/client-ec2';
import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import { FLEET_ID, TAG } from '../describe/ownership';
import { readTags } from '../describe/tags';

/** What bears our tag in an account and region. Nothing in its tags is believed: anybody may write them. */
export interface InventoryResource {
  id: string;
  /** As EC2 words it. */
  state: string;
  tags: Record<string, string>;
  /** ms since the epoch; of an instance, its launch or last start. */
  since: number;
}

export interface InventoryInstance extends InventoryResource {
  type: string;
  zone: string;
  market: 'spot' | 'on-demand';
  spotRequest: string | null;
  fleet: string | null;
  /** Its name. */
  placementGroup: string | null;
}

export interface InventoryFleet extends InventoryResource {
  /** Ids and names of its launch templates. */
  templates: string[];
}

export interface InventoryTemplate extends InventoryResource {
  name: string;
}

export interface InventoryVolume extends InventoryResource {
  /** GiB. */
  size: number;
}

export interface Inventory {
  /** That are not terminated. */
  instances: InventoryInstance[];
  /** That launch, or wait for capacity. */
  fleets: InventoryFleet[];
  templates: InventoryTemplate[];
  /** That are open and have no instance. */
  spotRequests: InventoryResource[];
  /** That no instance has. */
  volumes: InventoryVolume[];
  /** By their names. */
  placementGroups: InventoryResource[];
}

export type Kind = 'instance' | 'fleet' | 'launch template' | 'spot request' | 'volume' | 'placement group';

const OURS = { Name: `tag:${TAG.managed}`, Values: ['true'] };
const ACTIVE_FLEET_STATES = ['submitted', 'active', 'modifying'];

/** Everything with our tag that is there. @throws Problem with AWS's reason where one of the questions is refused. */
export async function takeInventory(aws: Aws, abortSignal?: AbortSignal): Promise<Inventory> {
  const config = { client: await aws.ec2() };
  const send = { abortSignal };
  const to = sdk.ec2();
  const [instances, fleets, templates, spotRequests, volumes, placementGroups] = await Promise.all([
    all('instances', to.paginateDescribeInstances(config, { Filters: [OURS] }, send), ({ Reservations = [] }) =>
      Reservations.flatMap(({ Instances = [] }) => Instances),
    ),
    // It has no filter by tag.
    all('fleets', to.paginateDescribeFleets(config, {}, send), ({ Fleets = [] }) => Fleets),
    all(
      'launch templates',
      to.paginateDescribeLaunchTemplates(config, { Filters: [OURS] }, send),
      ({ LaunchTemplates = [] }) => LaunchTemplates,
    ),
    all(
      'spot requests',
      to.paginateDescribeSpotInstanceRequests(config, { Filters: [OURS, { Name: 'state', Values: ['open'] }] }, send),
      ({ SpotInstanceRequests = [] }) => SpotInstanceRequests,
    ),
    all(
      'volumes',
      to.paginateDescribeVolumes(config, { Filters: [OURS, { Name: 'status', Values: ['available'] }] }, send),
      ({ Volumes = [] }) => Volumes,
    ),
    listGroups(aws, abortSignal),
  ]);
  return {
    instances: instances.map(toInstance).filter(({ tags, state }) => isOurs(tags) && state !== 'terminated'),
    fleets: fleets.map(toFleet).filter(({ tags, state }) => isOurs(tags) && ACTIVE_FLEET_STATES.includes(state)),
    templates: templates.map(toTemplate).filter(({ tags }) => isOurs(tags)),
    spotRequests: spotRequests
      .filter(({ InstanceId }) => !InstanceId)
      .map((each) => toResource(each.SpotInstanceRequestId, each.State, each.Tags, each.CreateTime))
      .filter(({ tags, state }) => isOurs(tags) && state === 'open'),
    volumes: volumes.map(toVolume).filter(({ tags, state }) => isOurs(tags) && state === 'available'),
    placementGroups: placementGroups.map(toGroup).filter(({ tags }) => isOurs(tags)),
  };
}

function toInstance(each: Instance): InventoryInstance {
  return {
    ...toResource(each.InstanceId, each.State?.Name, each.Tags, each.LaunchTime),
    type: each.InstanceType ?? '',
    zone: each.Placement?.AvailabilityZone ?? '',
    market: each.InstanceLifecycle === 'spot' ? 'spot' : 'on-demand',
    spotRequest: each.SpotInstanceRequestId ?? null,
    fleet: each.Tags?.find(({ Key }) => Key === FLEET_ID)?.Value ?? null,
    placementGroup: each.Placement?.GroupName || null,
  };
}

function toFleet(each: FleetData): InventoryFleet {
  return {
    ...toResource(each.FleetId, each.FleetState, each.Tags, each.CreateTime),
    templates: (each.LaunchTemplateConfigs ?? []).flatMap(({ LaunchTemplateSpecification: name }) =>
      [name?.LaunchTemplateId, name?.LaunchTemplateName].filter((text) => text !== undefined),
    ),
  };
}

function toTemplate(each: LaunchTemplate): InventoryTemplate {
  return {
    ...toResource(each.LaunchTemplateId, '', each.Tags, each.CreateTime),
    name: each.LaunchTemplateName ?? '',
  };
}

function toVolume(each: Volume): InventoryVolume {
  return { ...toResource(each.VolumeId, each.State, each.Tags, each.CreateTime), size: each.Size ?? 0 };
}

/** EC2 does not say when it was created. */
function toGroup({ GroupName, State, Tags }: PlacementGroup): InventoryResource {
  const group = toResource(GroupName, State, Tags);
  return { ...group, since: readTags(group.tags).created ?? 0 };
}

/** None, if the caller may not list them: they cost nothing, and nobody needs them but for trainings on several nodes. */
async function listGroups(aws: Aws, abortSignal?: AbortSignal): Promise<PlacementGroup[]> {
  const { DescribePlacementGroupsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  try {
    return (
      (await ec2.send(new DescribePlacementGroupsCommand({ Filters: [OURS] }), { abortSignal })).PlacementGroups ?? []
    );
  } catch (error) {
    if (awsCode(error) === 'UnauthorizedOperation') return [];
    throw awsProblem('INVENTORY', 'Could not look up the placement groups that nx-ec2 created.', error);
  }
}

function isOurs(tags: Record<string, string>): boolean {
  return tags[TAG.managed] === 'true';
}

function toResource(id = '', state = '', tags: Tag[] = [], since?: Date): InventoryResource {
  return {
    id,
    state,
    since: since?.getTime() ?? 0,
    tags: Object.fromEntries(tags.map(({ Key, Value }) => [Key!, Value ?? ''])),
  };
}

/** The rows of all pages of an answer. */
async function all<Page, Row>(what: string, pages: AsyncIterable<Page>, rows: (page: Page) => Row[]): Promise<Row[]> {
  const found: Row[] = [];
  try {
    for await (const page of pages) found.push(...rows(page));
  } catch (error) {
    throw awsProblem('INVENTORY', `Could not look up the ${what} that nx-ec2 launched.`, error);
  }
  return found;
}
