import type { Aws } from '../../aws/clients';
import { managedGroups } from './managed';
import type { RequiredTags } from './required-tags';
import { deletePlacementGroup } from './terminate';

/**
 * Deletes those placement groups with the required tags that no instance is in. EC2 refuses to delete the others, until
 * their instances are terminated. A group costs nothing, so what can't be deleted, or listed, is left for `clean`.
 * @param minAge ms; younger groups are left: absent: none is. @returns the names of those that are deleted.
 */
export async function deleteUnusedGroups(
  aws: Aws,
  required: RequiredTags,
  { minAge = 0, signal }: { minAge?: number; signal?: AbortSignal } = {},
): Promise<string[]> {
  const deleted: string[] = [];
  try {
    const now = await aws.now();
    for (const { group, created } of await managedGroups(aws, required, signal)) {
      if (now - created < minAge) continue;
      const isDeleted = await deletePlacementGroup(aws, group).then(
        () => true,
        () => false,
      );
      if (isDeleted) deleted.push(group.id);
    }
  } catch {
    signal?.throwIfAborted();
  }
  return deleted;
}
