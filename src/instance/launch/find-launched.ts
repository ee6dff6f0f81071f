import type { Aws } from '../../aws/clients';
import { only, type NamedInstance } from '../describe/find';
import { listOwnedInstances } from '../describe/describe-instances';
import { TAG } from '../describe/ownership';
import { mismatch, refusal, type RequiredTags } from '../stop/required-tags';

/**
 * Finds the instance that nx-ec2 launched for a launch spec. The key is not enough, since others can set a tag: all tags must match
 * the required ones before anything is sent to it.
 */
export async function findLaunched(aws: Aws, key: string, required: RequiredTags): Promise<NamedInstance> {
  const found = (await listOwnedInstances(aws, required.owner)).filter(({ tags }) => tags[TAG.key] === key);
  const matching = found.filter(({ tags }) => mismatch(tags, required) === null);
  if (found.length && !matching.length) throw refusal(`The instance ${found[0].id}`, found[0].tags, required);
  return { id: only(matching, { tag: { [TAG.key]: key } }).id };
}
