import { Problem } from '../../report/problem';
import { torchrunOptions } from './launcher';
import type { Configuration } from './types';

/**
 * Checks that a training of several nodes can run as configured.
 * @throws Problem `CONFIG_INVALID`
 */
export function assertNodes({ instance, storeAccess, train }: Configuration): void {
  const { nodes } = train;
  if (nodes === 1) return;
  const refuse = (what: string, next: string, other: string) => {
    throw new Problem('CONFIG_INVALID', `"train.nodes" is ${nodes}, and ${what}`, {
      next,
      settings: ['train.nodes', other],
    });
  };
  if (!('launchSpec' in instance))
    refuse(
      '"instance" names an instance that exists.',
      `Set "instance" to { "type": "…" }: then ${nodes} instances are launched for each run.`,
      'instance',
    );
  else if (instance.launchSpec.recovery === 'fleet')
    refuse(
      '"instance.recovery" is "fleet", which keeps one instance.',
      'Set "recovery" to "client" or "none".',
      'instance.recovery',
    );
  if (storeAccess === 'presigned')
    refuse(
      '"storeAccess" is "presigned", which does not let the nodes read what the others have written.',
      'Set "storeAccess" to "auto" or "role", and give the instances a role ("instance.instanceProfile"; nx g nx-ec2:aws-setup creates one).',
      'storeAccess',
    );
  const alone = optionOfOtherNodes(torchrunOptions(train.command ?? []), nodes);
  if (alone)
    refuse(
      `"train.command" has ${alone}, with which torchrun does not meet the other nodes.`,
      'Remove the option: variables tell torchrun how many nodes there are and where they meet.',
      'train.command',
    );
}

/** The option by which torchrun would wait for another number of nodes, or for none. */
function optionOfOtherNodes(options: string[], nodes: number): string | undefined {
  return options.find((word, at) => {
    const [name, value = options[at + 1]] = word.split('=');
    return name === '--standalone' || (name === '--nnodes' && value !== String(nodes));
  });
}
