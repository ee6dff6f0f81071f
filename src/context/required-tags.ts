import type { RequiredTags, Waivable } from '../instance/stop/required-tags';
import type { RequiredRunTags } from '../instance/stop/delete-fleet';
import type { Configuration } from '../config/settings/types';
import type { Owner } from '../instance/describe/ownership';
import { workspaceIdentity } from '../workspace/identity';
import type { RunContext } from './types';

/** Whose the instances are that a project launches. @param caller ARN. */
export function ownerOf(
  { instance }: Pick<Configuration, 'instance'>,
  { workspaceRoot, project, caller }: { workspaceRoot: string; project: string; caller: string },
): Owner {
  const pool = 'launchSpec' in instance ? instance.launchSpec.pool : undefined;
  const workspace = workspaceIdentity(workspaceRoot);
  return { workspace, project, caller, ...(pool ? { pool: pool.name } : {}) };
}

/** The tags that a resource must have for this command to stop or delete it. @param waived what the user forces. */
export async function requiredTags(
  { configuration, owner }: Pick<RunContext, 'configuration' | 'owner'>,
  waived: readonly Waivable[] = [],
): Promise<RequiredTags> {
  return { owner: await owner(), store: `${configuration.bucket}/${configuration.prefix}`, waived };
}

/** The same, for what was launched for one run. */
export async function requiredRunTags(
  context: Pick<RunContext, 'configuration' | 'owner'>,
  run: string,
  waived: readonly Waivable[] = [],
): Promise<RequiredRunTags> {
  return { ...(await requiredTags(context, waived)), run };
}
