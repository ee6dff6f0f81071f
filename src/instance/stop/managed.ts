import type { Filter, PlacementGroup, Tag } from '@aws-sdk/client-ec2';
import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import { sleep } from '../../system/sleep';
import type { NamedInstance } from '../../config/schema/instance-name';
import type { Problem } from '../../report/problem';
import { findInstance } from '../describe/find';
import type { Inventory, Kind } from '../inventory/inventory';
import { describeInstance, type InstanceInfo } from '../describe/describe-instances';
import { TAG } from '../describe/ownership';
import { readTags } from '../describe/tags';
import { mismatch, refusal, type RequiredTags } from './required-tags';
import { assertResourceId } from './resource-id';
import { steadyNow } from '../../system/moment';

declare const checked: unique symbol;

/** Marks what was checked against its tags in EC2. Only this file makes one: the type and `assertChecked` hold that. */
interface Checked<As extends string> {
  readonly [checked]: As;
}

type Instance = Pick<InstanceInfo, 'id' | 'state' | 'market' | 'spotRequest' | 'tags'>;

/** An instance that nx-ec2 launched and that the caller may stop or terminate. */
export type ManagedInstance = Readonly<Instance> & Checked<'instance'>;
export type ManagedFleet = Readonly<{ id: string }> & Checked<'fleet'>;
export type ManagedTemplate = Readonly<{ id: string }> & Checked<'launch template'>;
export type ManagedRequest = Readonly<{ id: string }> & Checked<'spot request'>;
export type ManagedVolume = Readonly<{ id: string }> & Checked<'volume'>;
/** Its id is its name, by which alone EC2 deletes a group. */
export type ManagedGroup = Readonly<{ id: string }> & Checked<'placement group'>;
/** Any instance that the configuration or the command line names: it may be started and stopped, never terminated. */
export type UserInstance = Readonly<Instance> & Checked<'named'>;

/** EC2 may not know a new instance for about a second; it is looked up again for this long, ms. */
export const NEW_INSTANCE_LAG_MS = 30_000;
const LOOKUP_RETRY_MS = 500;

const passed = new WeakSet<object>();

function pass<T extends object>(resource: T): T & Checked<never> {
  const own = Object.freeze({ ...resource });
  passed.add(own);
  return own as T & Checked<never>;
}

/** Holds at run time what the types say: a cast does not pass. */
export function assertChecked(resource: object): void {
  if (!passed.has(resource))
    throw new TypeError('The tags of a resource must be checked before it is terminated or deleted.');
}

/**
 * Looks up an instance and checks its tags.
 * @param unseen ms in which EC2 may not know it yet, since it was launched just now.
 * @returns null where EC2 has no such instance, or has terminated it.
 * @throws Problem where its tags are not the required ones.
 */
export async function managedInstance(
  aws: Aws,
  id: string,
  required: RequiredTags,
  { signal, unseen = 0 }: { signal?: AbortSignal; unseen?: number } = {},
): Promise<ManagedInstance | null> {
  assertResourceId('instance', id);
  let found = await describeInstance(aws, id, signal);
  for (
    const until = steadyNow() + unseen;
    !found && steadyNow() < until;
    found = await describeInstance(aws, id, signal)
  )
    await sleep(LOOKUP_RETRY_MS, signal);
  if (!found || found.state === 'terminated') return null;
  if (mismatch(found.tags, required)) throw refusal(`The instance ${id}`, found.tags, required);
  return pass<Instance>(found);
}

/** The instance that the user names. @throws Problem where there is none, or several. */
export async function userInstance(aws: Aws, name: NamedInstance, signal?: AbortSignal): Promise<UserInstance> {
  const { id } = await findInstance(aws, name);
  return pass<Instance>((await describeInstance(aws, id, signal))!);
}

/** Those of some fleets that have the required tags, and why others do not match. */
export async function managedFleets(
  aws: Aws,
  ids: string[],
  required: RequiredTags,
): Promise<{ fleets: ManagedFleet[]; refused: Problem[] }> {
  for (const id of ids) assertResourceId('fleet', id);
  if (!ids.length) return { fleets: [], refused: [] };
  const { DescribeFleetsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const { Fleets = [] } = await ec2.send(new DescribeFleetsCommand({ FleetIds: ids })).catch((error: unknown) => {
    throw awsProblem('FLEET', `Could not look up the fleet ${ids.join(', ')}.`, error);
  });
  const refused: Problem[] = [];
  const fleets: ManagedFleet[] = [];
  for (const { FleetId: id = '', Tags } of Fleets) {
    const tags = toRecord(Tags);
    if (mismatch(tags, required)) refused.push(refusal(`The fleet ${id}`, tags, required));
    else fleets.push(pass({ id }));
  }
  return { fleets, refused };
}

/** The launch template of that name; null where there is none. @throws Problem where its tags are not the required ones. */
export async function managedTemplate(aws: Aws, name: string, required: RequiredTags): Promise<ManagedTemplate | null> {
  const { DescribeLaunchTemplatesCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  try {
    const command = new DescribeLaunchTemplatesCommand({ LaunchTemplateNames: [name] });
    const { LaunchTemplates: [found] = [] } = await ec2.send(command);
    if (!found) return null;
    const tags = toRecord(found.Tags);
    if (mismatch(tags, required)) throw refusal(`The launch template ${name}`, tags, required);
    return pass({ id: found.LaunchTemplateId! });
  } catch (error) {
    if (/NotFound/.test(awsCode(error) ?? '')) return null;
    throw awsProblem('FLEET', `Could not look up the launch template ${name}.`, error);
  }
}

/** The placement group of that name; null where there is none. @throws Problem where its tags are not the required ones. */
export async function managedGroup(aws: Aws, name: string, required: RequiredTags): Promise<ManagedGroup | null> {
  const [found] = await describeGroups(aws, [{ Name: 'group-name', Values: [name] }]);
  if (!found) return null;
  const tags = toRecord(found.Tags);
  if (mismatch(tags, required)) throw refusal(`The placement group ${name}`, tags, required);
  return pass({ id: found.GroupName! });
}

/** The placement groups that have the required tags, with the time, ms, at which their tag says that they were created. */
export async function managedGroups(
  aws: Aws,
  required: RequiredTags,
  signal?: AbortSignal,
): Promise<{ group: ManagedGroup; created: number }[]> {
  const filters = [{ Name: `tag:${TAG.managed}`, Values: ['true'] }];
  const found = await describeGroups(aws, filters, signal);
  return found
    .map(({ GroupName, Tags }) => ({ id: GroupName!, tags: toRecord(Tags) }))
    .filter(({ tags }) => mismatch(tags, required) === null)
    .map(({ id, tags }) => ({ group: pass({ id }), created: readTags(tags).created ?? 0 }));
}

async function describeGroups(aws: Aws, Filters: Filter[], abortSignal?: AbortSignal): Promise<PlacementGroup[]> {
  const { DescribePlacementGroupsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const command = new DescribePlacementGroupsCommand({ Filters });
  const { PlacementGroups = [] } = await ec2.send(command, { abortSignal }).catch((error: unknown) => {
    throw awsProblem('PLACEMENT', 'Could not look up placement groups.', error);
  });
  return PlacementGroups;
}

/** The open spot requests of a launch that have the required tags. @param key the launch's, as its tag has it. */
export async function openRequests(aws: Aws, key: string, required: RequiredTags): Promise<ManagedRequest[]> {
  const { DescribeSpotInstanceRequestsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const { SpotInstanceRequests = [] } = await ec2.send(
    new DescribeSpotInstanceRequestsCommand({
      Filters: [
        { Name: `tag:${TAG.key}`, Values: [key] },
        { Name: 'state', Values: ['open'] },
      ],
    }),
  );
  return SpotInstanceRequests.map((each) => ({ id: each.SpotInstanceRequestId!, tags: toRecord(each.Tags) }))
    .filter(({ tags }) => tags[TAG.key] === key && mismatch(tags, required) === null)
    .map(({ id }) => pass({ id }));
}

/** What of a new inventory is expired, ready to be ended. */
export interface ExpiredResources {
  instances: Map<string, ManagedInstance>;
  fleets: Map<string, ManagedFleet>;
  templates: Map<string, ManagedTemplate>;
  requests: Map<string, ManagedRequest>;
  volumes: Map<string, ManagedVolume>;
  groups: Map<string, ManagedGroup>;
}

/**
 * Picks what is expired out of an inventory, which has managed resources alone: the rule of `clean`, for the account.
 * @param isExpired by the resource's own tags.
 */
export function expiredResources(
  inventory: Inventory,
  isExpired: (kind: Kind, id: string) => boolean,
): ExpiredResources {
  const pick = <T extends { id: string; tags: Record<string, string> }>(kind: Kind, all: T[]) => {
    const expired = all.filter(({ id, tags }) => tags[TAG.managed] === 'true' && isExpired(kind, id));
    return new Map(expired.map((each) => [each.id, pass(each)]));
  };
  return {
    instances: pick('instance', inventory.instances),
    fleets: pick('fleet', inventory.fleets),
    templates: pick('launch template', inventory.templates),
    requests: pick('spot request', inventory.spotRequests),
    volumes: pick('volume', inventory.volumes),
    groups: pick('placement group', inventory.placementGroups),
  };
}

function toRecord(tags: Tag[] = []): Record<string, string> {
  return Object.fromEntries(tags.map(({ Key, Value }) => [Key!, Value ?? '']));
}
