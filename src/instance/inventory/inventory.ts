import type { Tag } from '@aws-sdk/client-ec2';
import type { Aws } from '../../aws/clients';
import { awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import { FLEET_ID, TAG } from '../describe/ownership';

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
}

export interface InventoryFleet extends InventoryResource {
  /** Ids and names of its launch templates. */
  templates: string[];
}

export interface InventoryTemplate extends InventoryResource {
  name: string;
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
  volumes: (InventoryResource & { /** GiB. */ size: number })[];
}

export type Kind = 'instance' | 'fleet' | 'launch template' | 'spot request' | 'volume';

const OURS = { Name: `tag:${TAG.managed}`, Values: ['true'] };
const ACTIVE_FLEET_STATES = ['submitted', 'active', 'modifying'];

/** Everything with our tag that is there. @throws Problem with AWS's reason where one of the questions is refused. */
export async function takeInventory(aws: Aws, abortSignal?: AbortSignal): Promise<Inventory> {
  const ec2 = await aws.ec2();
  const to = sdk.ec2();
  const send = { abortSignal };
  const [instances, fleets, templates, spotRequests, volumes] = await Promise.all([
    all(
      'instances',
      (NextToken) => ec2.send(new to.DescribeInstancesCommand({ Filters: [OURS], NextToken }), send),
      ({ Reservations = [] }) => Reservations.flatMap(({ Instances = [] }) => Instances),
    ),
    // It has no filter by tag.
    all(
      'fleets',
      (NextToken) => ec2.send(new to.DescribeFleetsCommand({ NextToken }), send),
      ({ Fleets = [] }) => Fleets,
    ),
    all(
      'launch templates',
      (NextToken) => ec2.send(new to.DescribeLaunchTemplatesCommand({ Filters: [OURS], NextToken }), send),
      ({ LaunchTemplates = [] }) => LaunchTemplates,
    ),
    all(
      'spot requests',
      (NextToken) =>
        ec2.send(
          new to.DescribeSpotInstanceRequestsCommand({
            Filters: [OURS, { Name: 'state', Values: ['open'] }],
            NextToken,
          }),
          send,
        ),
      ({ SpotInstanceRequests = [] }) => SpotInstanceRequests,
    ),
    all(
      'volumes',
      (NextToken) =>
        ec2.send(
          new to.DescribeVolumesCommand({ Filters: [OURS, { Name: 'status', Values: ['available'] }], NextToken }),
          send,
        ),
      ({ Volumes = [] }) => Volumes,
    ),
  ]);
  return {
    instances: instances
      .map((each) => ({
        ...made(each.InstanceId, each.State?.Name, each.Tags, each.LaunchTime),
        type: each.InstanceType ?? '',
        zone: each.Placement?.AvailabilityZone ?? '',
        market: each.InstanceLifecycle === 'spot' ? ('spot' as const) : ('on-demand' as const),
        spotRequest: each.SpotInstanceRequestId ?? null,
        fleet: each.Tags?.find(({ Key }) => Key === FLEET_ID)?.Value ?? null,
      }))
      .filter(({ tags, state }) => isOurs(tags) && state !== 'terminated'),
    fleets: fleets
      .map((each) => ({
        ...made(each.FleetId, each.FleetState, each.Tags, each.CreateTime),
        templates: (each.LaunchTemplateConfigs ?? []).flatMap(({ LaunchTemplateSpecification: name }) =>
          [name?.LaunchTemplateId, name?.LaunchTemplateName].filter((text) => text !== undefined),
        ),
      }))
      .filter(({ tags, state }) => isOurs(tags) && ACTIVE_FLEET_STATES.includes(state)),
    templates: templates
      .map((each) => ({
        ...made(each.LaunchTemplateId, '', each.Tags, each.CreateTime),
        name: each.LaunchTemplateName ?? '',
      }))
      .filter(({ tags }) => isOurs(tags)),
    spotRequests: spotRequests
      .filter(({ InstanceId }) => !InstanceId)
      .map((each) => made(each.SpotInstanceRequestId, each.State, each.Tags, each.CreateTime))
      .filter(({ tags, state }) => isOurs(tags) && state === 'open'),
    volumes: volumes
      .map((each) => ({ ...made(each.VolumeId, each.State, each.Tags, each.CreateTime), size: each.Size ?? 0 }))
      .filter(({ tags, state }) => isOurs(tags) && state === 'available'),
  };
}

function isOurs(tags: Record<string, string>): boolean {
  return tags[TAG.managed] === 'true';
}

function made(id = '', state = '', tags: Tag[] = [], since?: Date): InventoryResource {
  return {
    id,
    state,
    since: since?.getTime() ?? 0,
    tags: Object.fromEntries(tags.map(({ Key, Value }) => [Key!, Value ?? ''])),
  };
}

async function all<Page extends { NextToken?: string }, Row>(
  what: string,
  ask: (NextToken: string | undefined) => Promise<Page>,
  rows: (page: Page) => Row[],
): Promise<Row[]> {
  const found: Row[] = [];
  let token: string | undefined;
  try {
    do {
      const answer = await ask(token);
      found.push(...rows(answer));
      token = answer.NextToken || undefined;
    } while (token);
  } catch (error) {
    throw awsProblem('INVENTORY', `Could not look up the ${what} that nx-ec2 launched.`, error);
  }
  return found;
}
