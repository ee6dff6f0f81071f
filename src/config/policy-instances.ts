import { Problem } from '../report/problem';
import type { Policy, Rule } from './policy-schema';
import type { InstanceName, NamedInstance } from './schema/instance-name';

/** Images that AWS and Canonical publish. */
const PUBLISHED_IMAGES = ['auto', 'al2023', 'ubuntu-24.04', 'ubuntu-22.04', 'deep-learning'];

/** Where a policy names the instances that may be used, others may be made only if it says which. */
export function instanceRules(policy: Policy, name: InstanceName): Rule[] {
  if (!('launchSpec' in name)) return [['instance', policy.instances, selectorText(name)]];
  const { types, instanceProfile, ami, subnets = [], securityGroups = [] } = name.launchSpec;
  // The networks that a launch reaches are not the repository's to choose where its types are not.
  const unnamed = policy.instanceTypes && [];
  return [
    ...types.map((type): Rule => ['instance.type', policy.instanceTypes ?? (policy.instances && []), type]),
    ['instance.instanceProfile', policy.instanceProfiles, instanceProfile],
    // An image can run anything as root: where users are limited, one of anybody's is not the repository's to choose.
    ['instance.ami', policy.images ?? (policy.users && PUBLISHED_IMAGES), ami],
    ...subnets.map((subnet): Rule => ['instance.subnet', policy.subnets ?? unnamed, subnet]),
    ...securityGroups.map((group): Rule => ['instance.securityGroups', policy.securityGroups ?? unnamed, group]),
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
 * Root runs the script of a launch spec: where users are limited, it needs a policy's word.
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
