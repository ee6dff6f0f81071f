import type { TagDescription } from '@aws-sdk/client-ec2';
import type { Aws } from '../../aws/clients';
import { awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import { isOwn, escapeFilterValue } from '../describe/describe-instances';
import { projectOf, TAG, tagText, type Owner } from '../describe/ownership';

/** What EC2 takes of a filter's values. */
const MAX_FILTER_VALUES = 200;
/** States in which a fleet launches. */
const ACTIVE = new Set(['submitted', 'active', 'modifying']);

/** What EC2 has of a run's fleet. */
export interface FoundFleet {
  /** That launch, or may. */
  fleets: string[];
  template: boolean;
}

/** The fleet and the template of a run, by their tag. EC2 may list them only a second or two after they were created. */
export async function findFleet(aws: Aws, run: string, abortSignal?: AbortSignal): Promise<FoundFleet> {
  const { DescribeFleetsCommand } = sdk.ec2();
  const tags = await tagsOfFleets(
    aws,
    { key: TAG.run, value: run },
    `Could not look up the fleet of ${run}.`,
    abortSignal,
  );
  const ids = tags.filter(({ ResourceType }) => ResourceType === 'fleet').map(({ ResourceId }) => ResourceId!);
  const ec2 = await aws.ec2();
  const { Fleets = [] } = ids.length
    ? await ec2.send(new DescribeFleetsCommand({ FleetIds: ids }), { abortSignal }).catch((error: unknown) => {
        throw awsProblem('FLEET', `Could not look up the fleet of ${run}.`, error);
      })
    : {};
  return {
    fleets: Fleets.filter(({ FleetState }) => ACTIVE.has(FleetState!)).map(({ FleetId }) => FleetId!),
    template: tags.some(({ ResourceType }) => ResourceType === 'launch-template'),
  };
}

/** The runs of a project that have a fleet or launch template of this caller. */
export async function listOwnedFleets(aws: Aws, owner: Owner, abortSignal?: AbortSignal): Promise<string[]> {
  const what = `Could not look up the fleets of ${owner.project}.`;
  const ofProject = await tagsOfFleets(aws, { key: TAG.project, value: tagText(projectOf(owner)) }, what, abortSignal);
  const ids = [...new Set(ofProject.map(({ ResourceId }) => ResourceId!))];
  const runs = new Set<string>();
  for (let from = 0; from < ids.length; from += MAX_FILTER_VALUES) {
    const all = await tagsOfFleets(aws, { ids: ids.slice(from, from + MAX_FILTER_VALUES) }, what, abortSignal);
    for (const id of ids.slice(from, from + MAX_FILTER_VALUES)) {
      const of = all.filter(({ ResourceId }) => ResourceId === id).map(({ Key, Value }) => [Key!, Value ?? '']);
      const tags = Object.fromEntries(of) as Record<string, string>;
      if (tags[TAG.run] && isOwn(tags, owner)) runs.add(tags[TAG.run]);
    }
  }
  const found: string[] = [];
  for (const run of runs) {
    // EC2 knows a fleet that was deleted for a while.
    const { fleets, template } = await findFleet(aws, run, abortSignal);
    if (fleets.length || template) found.push(run);
  }
  return found;
}

/** The tags of fleets and launch templates that have one of these, or these ids. */
async function tagsOfFleets(
  aws: Aws,
  which: { key: string; value: string } | { ids: string[] },
  what: string,
  abortSignal?: AbortSignal,
): Promise<TagDescription[]> {
  const { paginateDescribeTags } = sdk.ec2();
  const config = { client: await aws.ec2() };
  const Filters = [
    ...('ids' in which
      ? [{ Name: 'resource-id', Values: which.ids }]
      : [
          { Name: 'key', Values: [which.key] },
          { Name: 'value', Values: [escapeFilterValue(which.value)] },
        ]),
    { Name: 'resource-type', Values: ['fleet', 'launch-template'] },
  ];
  const found: TagDescription[] = [];
  try {
    for await (const { Tags = [] } of paginateDescribeTags(config, { Filters }, { abortSignal })) found.push(...Tags);
  } catch (error) {
    throw awsProblem('FLEET', what, error);
  }
  return found;
}

/** The instances of a run that are not terminated, nor on their way there. */
export async function instancesOf(aws: Aws, run: string, abortSignal?: AbortSignal): Promise<string[]> {
  const { DescribeInstancesCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const states = ['pending', 'running', 'stopping', 'stopped'];
  const { Reservations = [] } = await ec2
    .send(
      new DescribeInstancesCommand({
        Filters: [
          { Name: `tag:${TAG.run}`, Values: [escapeFilterValue(run)] },
          { Name: 'instance-state-name', Values: states },
        ],
      }),
      { abortSignal },
    )
    .catch((error: unknown) => {
      throw awsProblem('FLEET', `Could not look up the instances of ${run}.`, error);
    });
  return Reservations.flatMap(({ Instances = [] }) => Instances.map(({ InstanceId }) => InstanceId!));
}

/** What EC2 says last of why a fleet lacks an instance; null where it says nothing. Its words, from outside. */
export async function fleetTrouble(aws: Aws, fleet: string, since: number): Promise<string | null> {
  const { DescribeFleetHistoryCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  try {
    const { HistoryRecords = [] } = await ec2.send(
      new DescribeFleetHistoryCommand({ FleetId: fleet, StartTime: new Date(since) }),
    );
    const last = HistoryRecords.filter(({ EventType }) => EventType === 'service-error').at(-1)?.EventInformation;
    return last ? [last.EventSubType, last.EventDescription].filter(Boolean).join(': ') : null;
  } catch {
    // It only explains.
    return null;
  }
}
