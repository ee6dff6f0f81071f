import type { Aws } from '../aws/clients';
import { awsProblem } from '../aws/reason';
import { sdk } from '../aws/sdk';
import { pause } from '../command/run-command';
import type { Reporter } from '../report/reporter';
import { stop, terminate } from './end-instance';
import { deleteFleets } from './fleet';
import type { Inventory, Kind } from './inventory';
import type { Overdue } from './overdue';

/** What became of something that was to end. `ending`: EC2 has begun, and had not done it while it was waited for. */
export interface Ended extends Overdue {
  result: 'ended' | 'ending' | 'failed';
  /** Why it could not be ended. */
  problem: string | null;
}

const POLL = 2_000;

/** What must be gone before what: a request that stays open, or a fleet, would launch again. */
const ORDER: Kind[] = ['spot request', 'fleet', 'instance', 'launch template', 'volume'];

/**
 * Ends what is overdue, each for itself: what one is refused stops no other.
 * @param wait ms that instances are waited for until they have ended.
 */
export async function endOverdue(
  aws: Aws,
  late: Overdue[],
  { instances }: Inventory,
  wait: number,
  reporter: Reporter,
  signal?: AbortSignal,
): Promise<Ended[]> {
  const done: Ended[] = [];
  for (const kind of ORDER)
    for (const each of late.filter((one) => one.kind === kind)) {
      const request = instances.find(({ id }) => id === each.id)?.spotRequest ?? null;
      try {
        await end(aws, each, request, reporter);
        done.push({ ...each, result: kind === 'instance' ? 'ending' : 'ended', problem: null });
      } catch (error) {
        const problem = awsProblem('END', `Could not end the ${kind} ${each.id}.`, error);
        done.push({ ...each, result: 'failed', problem: problem.message });
      }
    }
  const terminating = done.filter(({ result }) => result === 'ending');
  const deadline = Date.now() + wait;
  while (terminating.some(({ result }) => result === 'ending')) {
    const left = await living(aws, terminating);
    for (const each of terminating) if (!left.has(each.id)) each.result = 'ended';
    if (!left.size || Date.now() > deadline) break;
    await pause(POLL, signal);
  }
  return done;
}

async function end(
  aws: Aws,
  { kind, id, how }: Overdue,
  spotRequest: string | null,
  reporter: Reporter,
): Promise<void> {
  const ec2 = await aws.ec2();
  const to = sdk.ec2();
  switch (kind) {
    case 'spot request':
      return void (await ec2.send(new to.CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [id] })));
    case 'instance':
      return how === 'stop' ? stop(aws, id) : terminate(aws, { id, spotRequest }, reporter);
    case 'launch template':
      return void (await ec2.send(new to.DeleteLaunchTemplateCommand({ LaunchTemplateId: id })));
    case 'volume':
      return void (await ec2.send(new to.DeleteVolumeCommand({ VolumeId: id })));
    case 'fleet':
      return deleteFleets(aws, [id]);
  }
}

/** Those that EC2 does not call terminated, or stopped where that is what they are to be. */
async function living(aws: Aws, ended: Ended[]): Promise<Set<string>> {
  const ec2 = await aws.ec2();
  const Filters = [{ Name: 'instance-id', Values: ended.map(({ id }) => id) }];
  const left = new Set<string>();
  let NextToken: string | undefined;
  try {
    do {
      const answer = await ec2.send(new (sdk.ec2().DescribeInstancesCommand)({ Filters, NextToken }));
      for (const { Instances = [] } of answer.Reservations ?? [])
        for (const { InstanceId: id, State } of Instances) {
          const stops = State?.Name === 'stopped' && ended.some((each) => each.id === id && each.how === 'stop');
          if (State?.Name !== 'terminated' && !stops) left.add(id!);
        }
      NextToken = answer.NextToken || undefined;
    } while (NextToken);
  } catch {
    // It is asked again, or said that they are being terminated.
    for (const { id } of ended) left.add(id);
  }
  return left;
}
