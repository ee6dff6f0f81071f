import { requiredTags } from '../../context/required-tags';
import type { RunContext } from '../../context/types';
import { listMembers } from '../../instance/pool/members';

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
