import type { Aws } from '../../aws/clients';
import { only, type NamedInstance } from '../describe/find';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { listOwnedInstances, type InstanceInfo } from '../describe/describe-instances';
import { listMembers } from '../pool/members';
import { projectOf, specHash, TAG } from '../describe/ownership';
import { byLaunchIndex } from './instance-set';
import { mismatch, refusal, type RequiredTags } from '../stop/required-tags';

/**
 * Finds the instance that nx-ec2 launched for a launch spec, else the first of the `count` that it launched for a run on
 * several. The key is not enough, since others can set a tag: all tags must match the required ones before anything is
 * sent to it.
 */
export async function findLaunched(
  aws: Aws,
  launchSpec: LaunchSpec,
  count: number,
  required: RequiredTags,
): Promise<NamedInstance> {
  if (launchSpec.pool) return findMember(aws, launchSpec, required);
  const own = await listOwnedInstances(aws, required.owner);
  const of = (key: string) => own.filter(({ tags }) => tags[TAG.key] === key);
  const isMatch = ({ tags }: InstanceInfo) => mismatch(tags, required) === null;
  const key = specHash(required.owner, launchSpec);
  const alone = of(key);
  const together = count > 1 ? of(specHash(required.owner, launchSpec, count)).sort(byLaunchIndex) : [];
  const matching = alone.filter(isMatch);
  const [first] = together.filter(isMatch);
  if (!matching.length && first) return { id: first.id };
  const [other] = [...alone, ...together];
  if (other && !matching.length) throw refusal(`The instance ${other.id}`, other.tags, required);
  return { id: only(matching, { tag: { [TAG.key]: key } }).id };
}

/** The only member of a pool, or the only one that runs. */
async function findMember(aws: Aws, launchSpec: LaunchSpec, required: RequiredTags): Promise<NamedInstance> {
  const { bySlot } = await listMembers(aws, launchSpec, required);
  return { id: only([...bySlot.values()], { tag: { [TAG.project]: projectOf(required.owner) } }).id };
}
