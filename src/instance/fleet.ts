import type {
  CreateFleetCommandInput,
  CreateLaunchTemplateCommandInput,
  RequestLaunchTemplateData,
  Tag,
  TagDescription,
} from '@aws-sdk/client-ec2';
import type { Aws } from '../aws/clients';
import { awsCode, awsProblem } from '../aws/reason';
import { sdk } from '../aws/sdk';
import { Problem } from '../report/problem';
import { isOwn, wildcarded } from './living';
import { TAG, tagText, type Owner } from './made';

/** What EC2 takes of overrides. */
const MOST_OVERRIDES = 300;
/** What it takes of a filter's values. */
const MOST_VALUES = 200;
/** The instance stops and saves its run first: so long after the deadline EC2 itself ends what is left, ms. */
const LAST = 10 * 60_000;
/** States in which a fleet launches. */
const ACTIVE = new Set(['submitted', 'active', 'modifying']);

/** A fleet that a run is to have: all of it follows from the run, so that asking twice makes one. */
export interface FleetWish {
  run: string;
  /** What its instances are made of, but for type and subnet. */
  instance: RequestLaunchTemplateData;
  /** Each of the types in each of the subnets. */
  places: readonly { type: string; subnet: string }[];
  /** ms since the epoch: then its instance ends itself and it. */
  deadline: number;
  tags: Tag[];
}

/** What EC2 has of a run's fleet. */
export interface FoundFleet {
  /** That launch, or may. */
  fleets: string[];
  template: boolean;
}

/** The name of the launch template of a run's fleet. */
export function templateName(run: string): string {
  return `nx-ec2-${run}`;
}

/** The template, where there is none of the name. What has made one already has decided what the instances are. */
export async function makeTemplate(aws: Aws, wish: FleetWish, abortSignal?: AbortSignal): Promise<void> {
  const { CreateLaunchTemplateCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const input: CreateLaunchTemplateCommandInput = {
    LaunchTemplateName: templateName(wish.run),
    ClientToken: wish.run,
    LaunchTemplateData: wish.instance,
    TagSpecifications: [{ ResourceType: 'launch-template', Tags: wish.tags }],
  };
  try {
    await ec2.send(new CreateLaunchTemplateCommand(input), { abortSignal });
  } catch (error) {
    if (awsCode(error) === 'InvalidLaunchTemplateName.AlreadyExistsException') return;
    throw awsProblem('FLEET', `Could not make the launch template ${templateName(wish.run)}.`, error);
  }
}

/** The fleet's id: with one client token for a run, the same for whoever asks again. */
export async function makeFleet(aws: Aws, wish: FleetWish, abortSignal?: AbortSignal): Promise<string> {
  const { CreateFleetCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  try {
    const made = await ec2.send(new CreateFleetCommand(fleetInput(wish)), { abortSignal });
    return made.FleetId!;
  } catch (error) {
    throw awsProblem('FLEET', `Could not make the fleet of ${wish.run}.`, error);
  }
}

function fleetInput({ run, places, deadline, tags }: FleetWish): CreateFleetCommandInput {
  return {
    ClientToken: run,
    Type: 'maintain',
    TargetCapacitySpecification: {
      TotalTargetCapacity: 1,
      SpotTargetCapacity: 1,
      OnDemandTargetCapacity: 0,
      DefaultTargetCapacityType: 'spot',
    },
    SpotOptions: { AllocationStrategy: 'price-capacity-optimized', InstanceInterruptionBehavior: 'terminate' },
    ExcessCapacityTerminationPolicy: 'termination',
    ReplaceUnhealthyInstances: true,
    TerminateInstancesWithExpiration: true,
    // EC2 takes whole seconds.
    ValidUntil: new Date(Math.floor((deadline + LAST) / 1000) * 1000),
    LaunchTemplateConfigs: [
      {
        LaunchTemplateSpecification: { LaunchTemplateName: templateName(run), Version: '1' },
        Overrides: places.slice(0, MOST_OVERRIDES).map(({ type, subnet }) => ({
          InstanceType: type as 't3.micro',
          SubnetId: subnet,
        })),
      },
    ],
    TagSpecifications: [{ ResourceType: 'fleet', Tags: tags }],
  };
}

/** What there is of a run's, by its tag: a second or two after it was made it may not be told of yet. */
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

/** The runs of a project that have a fleet or its launch template, which were made for this caller. */
export async function ownFleets(aws: Aws, owner: Owner, abortSignal?: AbortSignal): Promise<string[]> {
  const what = `Could not look up the fleets of ${owner.project}.`;
  const ofProject = await tagsOfFleets(aws, { key: TAG.project, value: tagText(owner.project) }, what, abortSignal);
  const ids = [...new Set(ofProject.map(({ ResourceId }) => ResourceId!))];
  const runs = new Set<string>();
  for (let from = 0; from < ids.length; from += MOST_VALUES) {
    const all = await tagsOfFleets(aws, { ids: ids.slice(from, from + MOST_VALUES) }, what, abortSignal);
    for (const id of ids.slice(from, from + MOST_VALUES)) {
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
  const { DescribeTagsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const Filters = [
    ...('ids' in which
      ? [{ Name: 'resource-id', Values: which.ids }]
      : [
          { Name: 'key', Values: [which.key] },
          { Name: 'value', Values: [wildcarded(which.value)] },
        ]),
    { Name: 'resource-type', Values: ['fleet', 'launch-template'] },
  ];
  const found: TagDescription[] = [];
  let token: string | undefined;
  try {
    do {
      const answer = await ec2.send(new DescribeTagsCommand({ Filters, NextToken: token }), { abortSignal });
      found.push(...(answer.Tags ?? []));
      token = answer.NextToken || undefined;
    } while (token);
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
          { Name: `tag:${TAG.run}`, Values: [run] },
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

/**
 * Deletes a run's template, then its fleets with their instances: a fleet without a template launches nothing.
 * @returns whether anything of it was there.
 */
export async function deleteFleet(aws: Aws, run: string): Promise<boolean> {
  const found = await findFleet(aws, run);
  await deleteTemplate(aws, run);
  if (!found.fleets.length) return found.template;
  await deleteFleets(aws, found.fleets);
  return true;
}

/** Deletes fleets with their instances; those that are deleted already are left. */
export async function deleteFleets(aws: Aws, ids: string[]): Promise<void> {
  const { DeleteFleetsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const answer = await ec2
    .send(new DeleteFleetsCommand({ FleetIds: ids, TerminateInstances: true }))
    .catch((error: unknown) => {
      throw awsProblem('FLEET', `Could not delete the fleet ${ids.join(', ')}: it goes on launching instances.`, error);
    });
  const [failed] = (answer.UnsuccessfulFleetDeletions ?? []).filter(
    ({ Error: why }) => why?.Code !== 'fleetIdDoesNotExist' && why?.Code !== 'fleetNotInDeletableState',
  );
  if (failed)
    throw new Problem('FLEET', `Could not delete the fleet ${failed.FleetId}: it goes on launching instances.`, {
      aws: { code: String(failed.Error?.Code), message: String(failed.Error?.Message) },
      next: `aws ec2 delete-fleets --terminate-instances --fleet-ids ${failed.FleetId}`,
    });
}

export async function deleteTemplate(aws: Aws, run: string): Promise<void> {
  const { DeleteLaunchTemplateCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const LaunchTemplateName = templateName(run);
  await ec2.send(new DeleteLaunchTemplateCommand({ LaunchTemplateName })).catch((error: unknown) => {
    if (/NotFound/.test(awsCode(error) ?? '')) return;
    throw awsProblem('FLEET', `Could not delete the launch template ${LaunchTemplateName}.`, error);
  });
}

/** Ends instances of a run that its fleet has left. */
export async function endInstances(aws: Aws, instances: string[]): Promise<void> {
  const { TerminateInstancesCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  await ec2.send(new TerminateInstancesCommand({ InstanceIds: instances })).catch((error: unknown) => {
    throw awsProblem('FLEET', `Could not terminate ${instances.join(', ')}.`, error);
  });
}
