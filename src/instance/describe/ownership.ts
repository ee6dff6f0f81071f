import { hash } from 'node:crypto';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import type { InstanceName, NamedInstance } from '../../config/schema/instance-name';
import { callerIdentity } from '../../workspace/identity';

/** Whose an instance is that nx-ec2 makes. */
export interface Owner {
  workspace: string;
  project: string;
  /** ARN. */
  caller: string;
  /** The pool that the project uses: its members are of no project. */
  pool?: string;
}

const POOL = 'pool:';

/** What an owner's instances have as their project: the members of a pool have its name. */
export function projectOf({ project, pool }: Pick<Owner, 'project' | 'pool'>): string {
  return pool === undefined ? project : POOL + pool;
}

/** The pool of which an instance is a member, by its tags; undefined: of none. */
export function poolOf(tags: Readonly<Record<string, string>>): string | undefined {
  const project = tags[TAG.project] ?? '';
  return project.startsWith(POOL) ? project.slice(POOL.length) : undefined;
}

/** The tags of all that nx-ec2 makes in EC2: docs/reference/formats.md, "Tags". */
export const TAG = {
  managed: 'nx-ec2:managed',
  key: 'nx-ec2:key',
  workspace: 'nx-ec2:workspace',
  project: 'nx-ec2:project',
  owner: 'nx-ec2:owner',
  store: 'nx-ec2:store',
  by: 'nx-ec2:by',
  run: 'nx-ec2:run',
  node: 'nx-ec2:node',
  price: 'nx-ec2:price',
  lifetime: 'nx-ec2:lifetime',
  deadline: 'nx-ec2:deadline',
  idle: 'nx-ec2:idle',
  finish: 'nx-ec2:finish',
  created: 'nx-ec2:created',
} as const;

/** EC2's own tag of what a fleet launches. */
export const FLEET_ID = 'aws:ec2:fleet-id';

/** As a tag's value: EC2 takes 256 characters. */
export function tagText(text: string): string {
  return [...text].slice(0, 256).join('');
}

/**
 * What an instance is found by again: the same for the same owner and what can't be changed of a machine that is there.
 * Shutdown rules, what becomes of it afterwards and tags may change without another one being made.
 * @param count how many are launched together: one of several is never taken for a single one. @param slot of a member of a pool.
 */
export function specHash(owner: Owner, launchSpec: LaunchSpec, count = 1, slot?: number): string {
  const { types, ami, spot, volumeSize, subnets, securityGroups, instanceProfile, publicIp, userData } = launchSpec;
  const machine: unknown[] = [
    types,
    ami,
    spot,
    volumeSize,
    subnets,
    securityGroups,
    instanceProfile,
    publicIp,
    userData,
  ];
  const together = count > 1 ? [count, ...(launchSpec.placement ? [launchSpec.placement] : [])] : [];
  const { network = null, capacityReservation = null } = launchSpec;
  if (network ?? capacityReservation) machine.push([network, capacityReservation]);
  const place = slot === undefined ? [] : [{ slot }];
  const parts = [owner.workspace, projectOf(owner), callerIdentity(owner.caller), machine, ...together, ...place];
  return hash('sha256', JSON.stringify(parts), 'hex').slice(0, 24);
}

/** Whether exactly one must be there. */
export function isNamedInstance(name: InstanceName): name is NamedInstance {
  return !('launchSpec' in name) && !('tag' in name && name.all);
}
