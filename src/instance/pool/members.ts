import type { Aws } from '../../aws/clients';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { MAX_POOL_SIZE } from '../../config/schema/launch-spec';
import { listOwnedInstances, type InstanceInfo } from '../describe/describe-instances';
import type { StoreKeys } from '../../store/keys';
import { projectOf, specHash, TAG, type Owner } from '../describe/ownership';
import { mismatch, type RequiredTags } from '../stop/required-tags';

/** The members of a pool that EC2 lists. */
export interface PoolMembers {
  /** Those that the launch spec means, by their slots; of several in one slot, the oldest. */
  bySlot: Map<number, InstanceInfo>;
  /** Those that were launched with another launch spec or for another store. */
  others: InstanceInfo[];
}

/** Finds the members of a pool by their tags. @param required with the owner of the pool. */
export async function listMembers(
  aws: Aws,
  launchSpec: LaunchSpec,
  required: RequiredTags,
  signal?: AbortSignal,
): Promise<PoolMembers> {
  const slots = new Map(
    Array.from({ length: MAX_POOL_SIZE }, (_, slot) => [specHash(required.owner, launchSpec, 1, slot), slot]),
  );
  const members: PoolMembers = { bySlot: new Map(), others: [] };
  for (const each of await listOwnedInstances(aws, required.owner, signal)) {
    const slot = slots.get(each.tags[TAG.key] ?? '');
    if (slot === undefined || mismatch(each.tags, required) !== null) members.others.push(each);
    else if (!members.bySlot.has(slot)) members.bySlot.set(slot, each);
  }
  return members;
}

/** The keys of the launches that an owner has made: those of a pool are of no project. */
export function launchKeys(keys: StoreKeys, owner: Owner): StoreKeys {
  return keys.of(projectOf(owner));
}
