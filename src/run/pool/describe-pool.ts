import type { LaunchSpec } from '../../config/schema/launch-spec';
import { requiredTags } from '../../context/required-tags';
import type { RunContext } from '../../context/types';
import { DEFAULT_START_SECONDS } from '../../instance/launch/launch-parameters';
import { listMembers } from '../../instance/pool/members';
import { formatDuration } from '../../report/units';

/** A pool as EC2 lists it. */
export interface PoolStatus {
  name: string;
  size: number;
  members: { id: string; type: string; state: string; usable: boolean }[];
}

/** The pool of the configuration, with its members; null: it names none. */
export async function readPool(context: RunContext, signal: AbortSignal): Promise<PoolStatus | null> {
  const { instance } = context.configuration;
  if (!('launchSpec' in instance) || !instance.launchSpec.pool) return null;
  const { bySlot, others } = await listMembers(context.aws, instance.launchSpec, await requiredTags(context), signal);
  const slots = [...bySlot].sort(([one], [other]) => one - other).map(([, member]) => member);
  const members = [...slots, ...others].map(({ id, type, state }, n) => ({
    id,
    type,
    state,
    usable: n < slots.length,
  }));
  return { ...instance.launchSpec.pool, members };
}

/** One line. */
export function describePool({ name, size, members }: PoolStatus): string {
  const words = members.map(
    ({ id, type, state, usable }) => `${id} (${type}, ${state}${usable ? '' : ', of another launch spec'})`,
  );
  return `Pool ${name}: ${members.length} of ${size} members${words.length ? `: ${words.join(', ')}` : ''}`;
}

/** What ends a member on which nothing runs. */
export function describeIdleEnd({ idleTimeout, maxLifetime }: LaunchSpec): string {
  return idleTimeout === false
    ? `A member on which no run starts ends after ${formatDuration(DEFAULT_START_SECONDS * 1000)}; another one stays, with "idleTimeout": false, until its maximum lifetime (${formatDuration(maxLifetime)}).`
    : `A member on which nothing runs ends after ${formatDuration(idleTimeout)}.`;
}
