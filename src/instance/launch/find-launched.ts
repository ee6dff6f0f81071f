import type { Aws } from '../../aws/clients';
import { only, type NamedInstance } from '../describe/find';
import { listOwnedInstances } from '../describe/describe-instances';
import { TAG } from '../describe/ownership';
import { mismatch, refusal, type Claim } from '../stop/claim';

/**
 * Finds the instance that nx-ec2 launched for a launch spec. The key is not enough, since others can set a tag: all tags must match
 * the claim before anything is sent to it.
 */
export async function findLaunched(aws: Aws, key: string, claim: Claim): Promise<NamedInstance> {
  const found = (await listOwnedInstances(aws, claim.owner)).filter(({ tags }) => tags[TAG.key] === key);
  const matching = found.filter(({ tags }) => mismatch(tags, claim) === null);
  if (found.length && !matching.length)
    throw refusal(`The instance ${found[0].id}`, mismatch(found[0].tags, claim)!, claim);
  return { id: only(matching, { tag: { [TAG.key]: key } }).id };
}
