import { Problem } from '../../report/problem';
import { torchrunOptions } from './launcher';
import type { Configuration } from './types';

export const MAX_NODES = 64;

/** Instances that a training runs on together, at most and, where it may be fewer, at least. */
type Nodes = Pick<Configuration['train'], 'nodes' | 'minNodes'>;

/**
 * Reads `train.nodes`: a number, or MIN:MAX.
 * @throws Problem `CONFIG_INVALID`
 */
export function readNodes(written: number | string): Nodes {
  if (typeof written === 'number') return { nodes: written };
  const [min, max] = written.split(':').map(Number);
  if (min < 1 || max > MAX_NODES || min >= max)
    throw new Problem('CONFIG_INVALID', `"train.nodes" is ${written}, which is no range of nodes.`, {
      next: `Write MIN:MAX with a MIN of 1 or more, below a MAX of ${MAX_NODES} at most, for example "2:4"; or a number.`,
      settings: ['train.nodes'],
    });
  return { nodes: max, minNodes: min };
}

/** As it is written: `4`, or `2:4`. */
export function formatNodes({ nodes, minNodes = nodes }: Nodes): string {
  return minNodes < nodes ? `${minNodes}:${nodes}` : String(nodes);
}

/** The same as a value of JSON: a number where it is one. undefined: one node. */
export function nodesSetting({ nodes, minNodes }: Nodes): number | string | undefined {
  if (nodes === 1) return undefined;
  return minNodes === undefined ? nodes : formatNodes({ nodes, minNodes });
}

/**
 * Checks that a training of several nodes can run as configured.
 * @throws Problem `CONFIG_INVALID`
 */
export function assertNodes({ instance, instances, storeAccess, train }: Configuration): void {
  if (train.nodes === 1) return;
  const nodes = formatNodes(train);
  const refuse = (what: string, next: string, other: string) => {
    throw new Problem('CONFIG_INVALID', `"train.nodes" is ${nodes}, and ${what}`, {
      next,
      settings: ['train.nodes', other],
    });
  };
  const isFixed = !instances.some((name) => 'tag' in name && name.all);
  if (!('launchSpec' in instance) && train.minNodes !== undefined)
    refuse(
      '"instance" names instances that exist, whose number is fixed.',
      `Write the number of nodes: ${train.nodes}. Or set "instance" to { "type": "…" }: then instances are launched for each run.`,
      'instance',
    );
  if (!('launchSpec' in instance) && isFixed && instances.length < train.nodes)
    refuse(
      `"instance" names ${instances.length === 1 ? 'one instance' : `${instances.length} instances`}.`,
      `Name ${train.nodes}: a list, or { "tag": { … }, "all": true }. Or set "instance" to { "type": "…" }: then ${train.nodes} instances are launched for each run.`,
      'instance',
    );
  if ('launchSpec' in instance && instance.launchSpec.pool)
    refuse(
      '"instance.pool" is set: a run uses one member of a pool.',
      'Remove "pool" and "size": then instances are launched for each run.',
      'instance.pool',
    );
  const isFleet = 'launchSpec' in instance && instance.launchSpec.recovery === 'fleet';
  if (isFleet && instance.launchSpec.placement === 'cluster')
    refuse(
      '"instance.placement" is "cluster", in which fleets launch nothing: no one would delete the placement group.',
      'Leave out "placement", or set "recovery" to "client".',
      'instance.placement',
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
function optionOfOtherNodes(options: string[], nodes: string): string | undefined {
  return options.find((word, at) => {
    const [name, value = options[at + 1]] = word.split('=');
    return name === '--standalone' || (name === '--nnodes' && value !== nodes);
  });
}
