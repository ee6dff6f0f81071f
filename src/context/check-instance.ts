import type { NamedInstance } from '../config/schema/instance-name';
import { enforceInstancePolicy } from '../config/policy';
import { describeInstance, type InstanceInfo } from '../instance/describe/describe-instances';
import { poolOf } from '../instance/describe/ownership';
import { mismatch } from '../instance/stop/required-tags';
import { assertResourceId } from '../instance/stop/resource-id';
import { Problem } from '../report/problem';
import { requiredTags } from './required-tags';
import type { RunContext } from './types';
import { shellWord } from '../report/shell-words';

/**
 * Checks that commands may be sent to an instance that a run's record names: whoever writes to the bucket can name any.
 * It must be one that the configuration names, or that a policy allows, or that nx-ec2 launched for this project and
 * store. The policy applies in any case.
 * @throws Problem where it is none of these. One that EC2 does not know gets no commands anyway.
 */
export async function checkInstance(
  context: Pick<RunContext, 'aws' | 'configuration' | 'owner' | 'workspaceRoot'>,
  id: string,
): Promise<void> {
  const { aws, configuration, workspaceRoot } = context;
  assertResourceId('instance', id);
  const named = configuration.instances.filter((name): name is NamedInstance => !('launchSpec' in name));
  if (named.some((name) => 'id' in name && name.id === id)) return;
  const found = await describeInstance(aws, id);
  if (!found) return;
  // A colleague's run is looked at and logged as one's own is: the owner does not count.
  const required = await requiredTags(context, ['owner']);
  // A run may be on a member of a pool that the configuration no longer names.
  const owner = { ...required.owner, pool: poolOf(found.tags) };
  const managed = mismatch(found.tags, { ...required, owner }) === null;
  const allowed = enforceInstancePolicy({ ...found, managed }, workspaceRoot, process.env);
  if (managed || allowed || named.some((name) => isNamed(found, name))) return;
  throw new Problem(
    'INSTANCE_NOT_ALLOWED',
    `No command was sent to ${id}: only a run record in the bucket names this instance.`,
    {
      next: `The configuration names another instance, and nx-ec2 did not launch ${id} for this project and store. If the run was on it, allow it in "instances" of a policy file, or add: --instance=${shellWord(id)}`,
    },
  );
}

function isNamed({ tags }: InstanceInfo, name: NamedInstance): boolean {
  if ('name' in name) return tags.Name === name.name;
  return 'tag' in name && Object.entries(name.tag).every(([key, value]) => tags[key] === value);
}
