import type { Claim, Waivable } from '../instance/stop/claim';
import type { RunClaim } from '../instance/stop/delete-fleet';
import type { RunContext } from './types';

/** What a resource must be for this command to stop or delete it. @param waived what the user forces. */
export async function stopClaim(
  { configuration, owner }: Pick<RunContext, 'configuration' | 'owner'>,
  waived: readonly Waivable[] = [],
): Promise<Claim> {
  return { owner: await owner(), store: `${configuration.bucket}/${configuration.prefix}`, waived };
}

/** The same, for what was launched for one run. */
export async function runClaim(
  context: Pick<RunContext, 'configuration' | 'owner'>,
  run: string,
  waived: readonly Waivable[] = [],
): Promise<RunClaim> {
  return { ...(await stopClaim(context, waived)), run };
}
