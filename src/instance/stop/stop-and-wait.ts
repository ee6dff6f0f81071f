import type { Aws } from '../../aws/clients';
import { sdk } from '../../aws/sdk';
import { sleep } from '../../system/sleep';
import { Problem } from '../../report/problem';
import type { Printer } from '../../report/printer';
import { formatDuration, formatSize } from '../../report/units';
import { describeInstance } from '../describe/describe-instances';
import { dollars } from '../price/price';
import { volumePrice } from '../price/price-list';
import { Waiting } from '../describe/wait-message';
import type { ManagedInstance, UserInstance } from './managed';
import { stop, terminate } from './terminate';
import { steadyNow } from '../../system/moment';

const STOP_POLL_MS = 2_000;
/** EC2 takes a minute or two; an instance that shuts down slowly, some more. ms. */
const STOP_TIMEOUT_MS = 15 * 60_000;
const GB = 1024 ** 3;

/** How an instance is taken down: one that nx-ec2 did not launch can only be stopped. */
export type StopRequest =
  { instance: ManagedInstance; how: 'terminate' | 'stop' } | { instance: UserInstance; how: 'stop' };

/**
 * Terminates an instance, or stops it, and waits until EC2 says that it is so. One that is so already is left.
 * @throws Problem where it can't be, or is not within a quarter of an hour.
 */
export async function stopAndWait(aws: Aws, down: StopRequest, printer: Printer, signal?: AbortSignal): Promise<void> {
  const { instance, how } = down;
  const { id, state, market } = instance;
  const wanted = how === 'terminate' ? 'terminated' : 'stopped';
  if (state === 'terminated' || state === wanted) {
    printer.line(`${id} is ${state}.`);
    return;
  }
  if (down.how === 'stop') {
    if (market === 'spot')
      throw new Problem('SPOT_NOT_STOPPABLE', `${id} is a spot instance: it can only be terminated.`, {
        next: 'Leave out --stop. Its disk is deleted with it; the store keeps what runs have saved.',
      });
    if (state !== 'stopping') await stop(aws, down.instance, signal);
  } else if (state !== 'shutting-down') await terminate(aws, down.instance, printer, signal);
  const waiting = new Waiting(printer, `${id} is ${how === 'stop' ? 'stopping' : 'shutting down'}`);
  try {
    const until = steadyNow() + STOP_TIMEOUT_MS;
    for (let wait = STOP_POLL_MS / 8; ; wait = Math.min(STOP_POLL_MS, wait * 1.5)) {
      const now = await describeInstance(aws, id, signal);
      if (!now || now.state === 'terminated' || now.state === wanted) break;
      if (steadyNow() > until)
        throw new Problem('INSTANCE_END', `${id} is still ${now.state} after ${formatDuration(STOP_TIMEOUT_MS)}.`, {
          next: 'Run the same command again, or look at it in the console.',
        });
      await sleep(wait, signal);
    }
  } finally {
    waiting.end();
  }
  printer.line(`${id} is ${wanted}.`);
}

/** The disks of an instance, bytes; null where EC2 does not say, or knows none: a stopped instance has at least one. */
export async function diskSizes(aws: Aws, id: string): Promise<number | null> {
  const { DescribeVolumesCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  try {
    const filters = [{ Name: 'attachment.instance-id', Values: [id] }];
    const { Volumes = [] } = await ec2.send(new DescribeVolumesCommand({ Filters: filters }));
    return Volumes.reduce((sum, { Size = 0 }) => sum + Size * GB, 0) || null;
  } catch {
    return null;
  }
}

/** What a stopped instance still costs, in words. */
export async function describeStopped(aws: Aws, id: string): Promise<string> {
  const bytes = await diskSizes(aws, id);
  const disk = bytes === null ? 'Its disk' : `Its disk of ${formatSize(bytes)}`;
  const price = await volumePrice(aws);
  const cost =
    price === null || bytes === null ? 'what gp3 storage costs' : `${dollars((price * bytes) / GB)} a month (gp3)`;
  return `${disk} still costs ${cost} until it is terminated.`;
}
