import type { RequiredTags, Waivable } from '../instance/stop/required-tags';
import type { RequiredRunTags } from '../instance/stop/delete-fleet';
import type { RunContext } from './types';

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
