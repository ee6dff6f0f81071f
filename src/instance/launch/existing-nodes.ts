import type { Aws } from '../../aws/clients';
import type { NamedInstance } from '../../config/schema/instance-name';
import { Problem } from '../../report/problem';
import type { Printer } from '../../report/printer';
import { formatCount } from '../../report/units';
import { mapConcurrent } from '../../system/side-by-side';
import { describeName, findAll, type FoundInstance } from '../describe/find';
import { isOnline } from '../ready/online';
import { machineTypes } from './machine-type';
import { describeGroups as describeSecurityGroups, letsIn, lookUpGroups, unreachable } from './node-network';

/** Instances that Systems Manager is asked about at once. */
const CONCURRENCY = 8;

/**
 * Chooses the instances that a run trains on, of those that the configuration names: the first that Systems Manager
 * reaches, in the order of their ids. So commands for one training choose the same ones, and runs that share instances
 * reserve them in one order.
 * @param count how many the run needs.
 * @throws Problem where fewer run.
 */
export async function chooseNodes(aws: Aws, names: readonly NamedInstance[], count: number): Promise<FoundInstance[]> {
  const found = await findAll(aws, names);
  const up = found.filter(({ state }) => state === 'running' || state === 'pending');
  if (up.length < count) throw tooFew(names, found, up.length, count);
  if (up.length === count) return up;
  const online = new Set<string>();
  await mapConcurrent(up, CONCURRENCY, async ({ id }) => {
    if ((await isOnline(aws, id)).online) online.add(id);
  });
  const first = [...up].sort((one, other) => Number(online.has(other.id)) - Number(online.has(one.id)));
  const chosen = new Set(first.slice(0, count));
  return up.filter((each) => chosen.has(each));
}

/**
 * Checks that instances can work together: that they are in one network and reach one another, and have as many GPUs.
 * @param isByGpu whether the launcher starts a process for each GPU.
 * @throws Problem
 */
export async function assertTogether(
  aws: Aws,
  nodes: readonly FoundInstance[],
  { isByGpu, printer, signal }: { isByGpu: boolean; printer: Printer; signal?: AbortSignal },
): Promise<void> {
  const vpcs = groupBy(nodes, ({ vpc }) => vpc);
  if (vpcs.size > 1)
    throw new Problem('NODES_UNFIT', `The nodes are not in one VPC: ${describeGroups(vpcs)}.`, {
      next: 'Name instances of one VPC: nodes meet at their private addresses.',
      settings: ['instance'],
    });
  await assertSameGpus(aws, nodes, isByGpu, printer, signal);
  const unknown = await assertReachable(aws, nodes, signal);
  if (unknown) printer.warn(`Whether the nodes reach one another is not known: ${unknown}`);
  const zones = groupBy(nodes, ({ zone }) => zone);
  if (zones.size > 1)
    printer.warn(
      `The nodes are in several zones: ${describeGroups(zones)}. Traffic between zones is slower, and costs money.`,
    );
}

async function assertSameGpus(
  aws: Aws,
  nodes: readonly FoundInstance[],
  isByGpu: boolean,
  printer: Printer,
  signal?: AbortSignal,
): Promise<void> {
  const types = groupBy(nodes, ({ type }) => type);
  if (types.size === 1) return;
  const what = `The nodes are of several types: ${describeGroups(types)}.`;
  const known = isByGpu
    ? await machineTypes(aws, [...types.keys()], signal).catch((error: Error) => {
        signal?.throwIfAborted();
        printer.detail(error.message);
        return [];
      })
    : [];
  if (new Set(known.map(({ gpus }) => gpus)).size > 1)
    throw new Problem(
      'NODES_UNFIT',
      `${what} They have ${known.map(({ name, gpus }) => `${formatCount(gpus, 'GPU')} (${name})`).join(', ')}, and each node must start as many processes.`,
      {
        next: 'Name instances with as many GPUs, or set "train.processes" to the number of processes on each node.',
        settings: ['instance', 'train.processes'],
      },
    );
  printer.warn(`${what} The slowest one sets the pace.`);
}

/** @returns why it is not known; null: they reach one another. @throws Problem where they don't. */
async function assertReachable(
  aws: Aws,
  nodes: readonly FoundInstance[],
  abortSignal?: AbortSignal,
): Promise<string | null> {
  const GroupIds = [...new Set(nodes.flatMap(({ groups }) => groups))];
  const known = await lookUpGroups(aws, { GroupIds }, abortSignal);
  if (typeof known === 'string') return known;
  const bare = nodes.find(({ groups }) => !known.some(({ GroupId }) => groups.includes(GroupId!)));
  if (bare) return `EC2 names no security group of ${bare.id}`;
  const groupsOf = ({ groups }: FoundInstance) => known.filter(({ GroupId }) => groups.includes(GroupId!));
  for (const node of nodes)
    for (const other of nodes) {
      if (other === node) continue;
      const [own, from] = [groupsOf(node), groupsOf(other)];
      if (own.some((group) => letsIn(group, from, other.address ? [`${other.address}/32`] : []))) continue;
      const why = `no security group of ${node.id} allows all ports from ${other.id}: ${describeSecurityGroups(own)}`;
      throw unreachable(`: ${why}`, own[0], from[0]);
    }
  return null;
}

function tooFew(names: readonly NamedInstance[], found: readonly FoundInstance[], up: number, count: number): Problem {
  const states = found.map(({ id, state }) => `${id} is ${state}`);
  const which = states.length ? `: ${states.join(', ')}` : '';
  const what = `The training needs ${count} nodes, and ${up} of the instances ${names.map(describeName).join('; ')} ${up === 1 ? 'runs' : 'run'}${which}.`;
  const isStopped = found.some(({ state }) => state.startsWith('stop'));
  return new Problem('NODES_UNFIT', what, {
    next: isStopped ? 'Start it: nx run <project>:remote-up' : 'Name more instances, or lower "train.nodes".',
    settings: ['instance', 'train.nodes'],
  });
}

function groupBy<T>(all: readonly T[], key: (each: T) => string | undefined): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const each of all) groups.set(key(each) ?? '?', [...(groups.get(key(each) ?? '?') ?? []), each]);
  return groups;
}

function describeGroups(groups: ReadonlyMap<string, readonly FoundInstance[]>): string {
  return [...groups].map(([name, each]) => `${each.map(({ id }) => id).join(', ')} (${name})`).join('; ');
}
