import type { Aws } from '../../aws/clients';
import { awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import { sleep } from '../../system/sleep';
import type { Printer } from '../../report/printer';
import { takeInventory, type Inventory, type Kind } from '../inventory/inventory';
import type { ExpiredResource } from '../inventory/expired';
import { expiredResources, type ExpiredResources } from './managed';
import {
  cancelRequest,
  deleteFleets,
  deletePlacementGroup,
  deleteTemplate,
  deleteVolume,
  stop,
  terminate,
} from './terminate';
import { steadyNow } from '../../system/moment';

/** The result for one expired resource. `ending`: EC2 has started, and did not finish within the time limit. */
export interface Ended extends ExpiredResource {
  result: 'ended' | 'ending' | 'failed';
  /** Why it could not be cleaned up. */
  problem: string | null;
}

export interface TerminateOptions {
  /** What of an inventory is expired. */
  findExpired: (inventory: Inventory) => ExpiredResource[];
  /** How long instances are waited for until they have ended, ms. */
  timeout: number;
  printer: Printer;
  signal?: AbortSignal;
}

const TERMINATE_POLL_MS = 2_000;

const VERBS: Record<Kind, string> = {
  instance: 'terminate or stop',
  fleet: 'delete',
  'launch template': 'delete',
  'spot request': 'cancel',
  volume: 'delete',
  'placement group': 'delete',
};

/** The order of deletion: an open request, or a fleet, would launch another instance. */
const ORDER: Kind[] = ['spot request', 'fleet', 'instance', 'launch template', 'volume', 'placement group'];

/**
 * Terminates, stops or deletes expired resources. A failure for one does not affect the others. EC2 is asked again
 * first, and resources that are no longer expired are left alone.
 */
export async function terminateExpired(
  aws: Aws,
  late: ExpiredResource[],
  { findExpired, timeout, printer, signal }: TerminateOptions,
): Promise<Ended[]> {
  if (!late.length) return [];
  const inventory = await takeInventory(aws, signal);
  const still = new Map(findExpired(inventory).map((each) => [`${each.kind} ${each.id}`, each]));
  const resources = expiredResources(inventory, (kind, id) => still.has(`${kind} ${id}`));
  const done: Ended[] = [];
  for (const kind of ORDER)
    for (const { id } of late.filter((one) => one.kind === kind)) {
      // What it is to be, stopped or terminated, may have changed as well.
      const each = still.get(`${kind} ${id}`);
      if (!each) continue;
      try {
        await end(aws, each, resources, printer);
        done.push({ ...each, result: kind === 'instance' ? 'ending' : 'ended', problem: null });
      } catch (error) {
        const problem = awsProblem('INSTANCE_END', `Could not ${VERBS[kind]} the ${kind} ${id}.`, error);
        done.push({ ...each, result: 'failed', problem: problem.message });
      }
    }
  const terminating = done.filter(({ result }) => result === 'ending');
  const deadline = steadyNow() + timeout;
  while (terminating.some(({ result }) => result === 'ending')) {
    const left = await aliveInstance(aws, terminating);
    for (const each of terminating) if (!left.has(each.id)) each.result = 'ended';
    if (!left.size || steadyNow() > deadline) break;
    await sleep(TERMINATE_POLL_MS, signal);
  }
  return done;
}

async function end(
  aws: Aws,
  { kind, id, how }: ExpiredResource,
  { instances, fleets, templates, requests, volumes, groups }: ExpiredResources,
  printer: Printer,
): Promise<void> {
  switch (kind) {
    case 'spot request':
      return cancelRequest(aws, requests.get(id)!);
    case 'instance':
      return how === 'stop' ? stop(aws, instances.get(id)!) : terminate(aws, instances.get(id)!, printer);
    case 'launch template':
      return deleteTemplate(aws, templates.get(id)!);
    case 'volume':
      return deleteVolume(aws, volumes.get(id)!);
    case 'placement group':
      return deletePlacementGroup(aws, groups.get(id)!);
    case 'fleet':
      return deleteFleets(aws, [fleets.get(id)!]);
  }
}

/** Those that EC2 does not report as terminated yet, or as stopped if they are to be stopped. */
async function aliveInstance(aws: Aws, ended: Ended[]): Promise<Set<string>> {
  const config = { client: await aws.ec2() };
  const Filters = [{ Name: 'instance-id', Values: ended.map(({ id }) => id) }];
  const left = new Set<string>();
  try {
    for await (const { Reservations = [] } of sdk.ec2().paginateDescribeInstances(config, { Filters }))
      for (const { InstanceId: id, State } of Reservations.flatMap(({ Instances = [] }) => Instances)) {
        const stops = State?.Name === 'stopped' && ended.some((each) => each.id === id && each.how === 'stop');
        if (State?.Name !== 'terminated' && !stops) left.add(id!);
      }
  } catch {
    // It is asked again, or said that they are being terminated.
    for (const { id } of ended) left.add(id);
  }
  return left;
}
