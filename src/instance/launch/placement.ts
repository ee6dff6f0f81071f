import type { RunInstancesCommandInput, Tag, TagSpecification } from '@aws-sdk/client-ec2';
import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import type { InstanceInfo } from '../describe/describe-instances';
import { TAG } from '../describe/ownership';
import { managedGroup } from '../stop/managed';
import { isRefusal, requiredTagsOf } from '../stop/required-tags';
import { deleteUnusedGroups } from '../stop/unused-groups';
import type { LaunchState } from './launch-journal';
import type { LaunchOption } from './launch-options';
import type { LaunchInputs } from './launch-inputs';
import type { EnsureOptions } from './options';
import { isOfPlacementGroup, type Refused } from './run-instances';

export const GROUP_PERMISSIONS =
  'The caller needs ec2:CreatePlacementGroup, ec2:DescribePlacementGroups and ec2:DeletePlacementGroup, and ec2:RunInstances on placement-group/*: the LaunchPolicy of nx g nx-ec2:aws-setup has them.';

/** Younger groups may be those of a launch that has no instance yet, ms. */
const MIN_UNUSED_MS = 10 * 60_000;

/** The placement group of a launch: that of the instances which it completes, else one of its own. */
export function groupOf({ generation }: Pick<LaunchState, 'generation'>, kept: readonly InstanceInfo[]): string {
  return keptGroup(kept) ?? `nx-ec2-${generation}`;
}

function keptGroup(kept: readonly InstanceInfo[]): string | null {
  return kept.find(({ placementGroup }) => placementGroup !== null)?.placementGroup ?? null;
}

/**
 * Decides which launch options are in a cluster placement group, and creates the group. Each launch has a group of its
 * own: one that still has instances, which are shutting down, could be used in their zone only.
 */
export class LaunchPlacement {
  private readonly clusters = new Set<string>();
  private readonly created = new Set<string>();
  private isWithdrawn = false;

  constructor(private readonly options: EnsureOptions) {}

  /** @throws Problem where a group is asked for, and one of the types, or a capacity block, can't be in one. */
  use({ types: named, reservation }: Pick<LaunchInputs, 'types' | 'reservation'>): void {
    const { launchSpec, count = 1 } = this.options;
    const types = [...named.values()];
    if (count === 1 || launchSpec.placement === 'none') return;
    // Reserved capacity is where it is: a group is an attempt only if it is asked for.
    if (reservation && launchSpec.placement === undefined) return;
    if (reservation?.isBlock)
      throw new Problem('PLACEMENT', `EC2 launches no instances of the capacity block ${reservation.id} in a group.`, {
        next: 'Leave out "placement": the instances of a capacity block are close to each other.',
        settings: ['instance.placement', 'instance.capacityReservation'],
      });
    const unfit = types.filter(({ clusters }) => !clusters).map(({ name }) => name);
    if (launchSpec.placement === 'cluster' && unfit.length)
      throw new Problem('PLACEMENT', `EC2 has no cluster placement groups for ${unfit.join(', ')}.`, {
        next: 'Name another type, or leave out "placement": then the nodes are anywhere in one zone.',
        settings: ['instance.placement', 'instance.type'],
      });
    for (const { name, clusters } of types) if (clusters) this.clusters.add(name);
  }

  /**
   * The launch options with those that are in the group: before each one that is not, unless it is to be the group alone.
   * @param kept the instances beside which others are launched.
   */
  optionsOf(options: LaunchOption[], kept: readonly InstanceInfo[] = []): LaunchOption[] {
    if (this.isWithdrawn || (kept.length > 0 && keptGroup(kept) === null)) return options;
    return options.flatMap((option) => {
      if (!this.clusters.has(option.type)) return option;
      const inGroup: LaunchOption = { ...option, placement: 'cluster' };
      return this.options.launchSpec.placement === 'cluster' ? inGroup : [inGroup, option];
    });
  }

  /**
   * Creates the group of a request, if there is one and it does not exist. Killed after it, a launch leaves a group without
   * instances, which costs nothing, and which the next launch, `remote-down` and `clean` delete.
   * @returns why EC2 refuses it; null: it is there.
   */
  async create(parameters: RunInstancesCommandInput, kept: readonly InstanceInfo[]): Promise<Refused | null> {
    const { aws, signal } = this.options;
    const name = parameters.Placement?.GroupName;
    if (name === undefined || this.created.has(name) || keptGroup(kept) === name) return null;
    const required = requiredTagsOf(this.options);
    if (!this.created.size) await deleteUnusedGroups(aws, required, { minAge: MIN_UNUSED_MS, signal });
    const tags = parameters.TagSpecifications?.find(({ ResourceType }) => ResourceType === 'instance')?.Tags ?? [];
    const Tags = [...tags, { Key: TAG.created, Value: String(await aws.now()) }];
    try {
      await createGroup(aws, { GroupName: name, Tags }, signal);
    } catch (error) {
      const [code, message] = [awsCode(error) ?? '', sanitizeForTerminal((error as Error).message)];
      if (code === 'InvalidPlacementGroup.Duplicate') {
        // Another client of this launch has created it; or somebody else, since anybody may have written its name.
        const refused = await managedGroup(aws, name, required).then(() => null, isRefusalOf);
        if (refused) return { refused: code, message: refused.message };
      } else if (code === 'UnauthorizedOperation' || isOfPlacementGroup(code, message)) {
        return { refused: code, message };
      } else throw awsProblem('PLACEMENT', `Could not create the placement group ${name}.`, error);
    }
    this.created.add(name);
    return null;
  }

  /** EC2 refuses the group, and not capacity: no option is in one any more. @throws Problem where it was asked for. */
  withdraw({ refused: code, message }: Refused): void {
    const { launchSpec, printer } = this.options;
    const next =
      code === 'UnauthorizedOperation' ? GROUP_PERMISSIONS : 'To list the groups: aws ec2 describe-placement-groups';
    if (launchSpec.placement === 'cluster')
      throw new Problem('PLACEMENT', "The nodes can't be launched in a cluster placement group.", {
        aws: { code, message },
        next: `${next}\nTo launch them anywhere in one zone: "placement": "none".`,
        settings: ['instance.placement'],
      });
    this.isWithdrawn = true;
    printer.line(
      `The nodes are launched without a cluster placement group. ${code}: ${message}\n${next}\nTo do without a group: "instance": { "placement": "none" }.`,
    );
  }
}

/** Creates a cluster placement group. @param DryRun asks only whether the caller may. @throws AWS's error */
export async function createGroup(
  aws: Aws,
  { GroupName, Tags, DryRun }: { GroupName: string; Tags: Tag[]; DryRun?: boolean },
  abortSignal?: AbortSignal,
): Promise<void> {
  const { CreatePlacementGroupCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const TagSpecifications: TagSpecification[] = [{ ResourceType: 'placement-group', Tags }];
  const command = new CreatePlacementGroupCommand({ GroupName, Strategy: 'cluster', TagSpecifications, DryRun });
  await ec2.send(command, { abortSignal });
}

function isRefusalOf(error: unknown): Problem {
  if (isRefusal(error)) return error;
  throw error;
}
