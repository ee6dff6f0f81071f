import { Problem } from '../report/problem';
import type { Policy, Rule } from './policy-schema';
import type { InstanceName, NamedInstance } from './schema/instance-name';

/** Images that AWS and Canonical publish. */
const PUBLISHED_IMAGES = ['auto', 'al2023', 'ubuntu-24.04', 'ubuntu-22.04', 'deep-learning'];

/** If a policy lists the instances that may be used, an instance may be launched only if the policy allows its type. */
export function instanceRules(policy: Policy, name: InstanceName): Rule[] {
  if (!('launchSpec' in name)) return [['instance', policy.instances, selectorText(name)]];
  const { types, instanceProfile, ami, subnets = [], securityGroups = [], capacityReservation } = name.launchSpec;
  // If a policy limits the types, it must also allow the networks, and capacity that others have reserved.
  const unnamed = policy.instanceTypes && [];
  return [
    ...types.map((type): Rule => ['instance.type', policy.instanceTypes ?? (policy.instances && []), type]),
    ['instance.instanceProfile', policy.instanceProfiles, instanceProfile],
    // An image can run anything as root: if a policy limits the users, it must allow an image that is not published.
    ['instance.ami', policy.images ?? (policy.users && PUBLISHED_IMAGES), ami],
    ...subnets.map((subnet): Rule => ['instance.subnet', policy.subnets ?? unnamed, subnet]),
    ...securityGroups.map((group): Rule => ['instance.securityGroups', policy.securityGroups ?? unnamed, group]),
    ['instance.capacityReservation', policy.capacityReservations ?? unnamed, capacityReservation],
  ];
}

function selectorText(name: NamedInstance): string {
  if ('id' in name) return name.id;
  if ('name' in name) return name.name;
  return Object.entries(name.tag)
    .map((tag) => tag.join('='))
    .join(',');
}

/**
 * Root runs the script of a launch spec: if a policy limits the users, it must allow the script.
 * @throws Problem that does not show the script, which may hold secrets.
 */
export function assertUserDataAllowed(policy: Policy, instances: readonly InstanceName[]): void {
  const isAllowed = policy.userData ?? !policy.users;
  if (isAllowed || !instances.some((name) => 'launchSpec' in name && name.launchSpec.userData !== undefined)) return;
  throw new Problem(
    'POLICY',
    `The policy ${policy.path} does not allow "instance.userData", which root runs on the instance.`,
    { next: 'The policy can allow it: { "userData": true }.', settings: ['instance.userData'] },
  );
}
