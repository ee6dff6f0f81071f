import type { Aws } from '../aws/clients';
import { awsCode, awsProblem } from '../aws/reason';
import { sdk } from '../aws/sdk';
import { pause } from '../command/run-command';
import type { Reporter } from '../report/reporter';
import type { LivingInstance } from './living';
import { TAG } from './made';

/** A new instance may not be found for about a second (facts, "EC2"); it is tried so long, ms. */
const UNSEEN = 30_000;

/** Asks EC2 to terminate an instance, its spot request first; does not wait until it has. */
export async function terminate(
  aws: Aws,
  { id, spotRequest }: Pick<LivingInstance, 'id' | 'spotRequest'>,
  reporter: Reporter,
  signal?: AbortSignal,
): Promise<void> {
  const { TerminateInstancesCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  if (spotRequest) await cancelSpot(aws, [spotRequest], reporter);
  await whenSeen(
    () => ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }), { abortSignal: signal }),
    `Could not terminate ${id}.`,
    signal,
  );
}

/** Asks EC2 to stop an instance. */
export async function stop(aws: Aws, id: string, signal?: AbortSignal): Promise<void> {
  const { StopInstancesCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const command = new StopInstancesCommand({ InstanceIds: [id] });
  await whenSeen(() => ec2.send(command, { abortSignal: signal }), `Could not stop ${id}.`, signal);
}

/**
 * Cancels what spot requests of a launch are still open: capacity that came for one after another try was made would be
 * a second instance.
 */
export async function cancelOpenRequests(aws: Aws, key: string, reporter: Reporter): Promise<void> {
  const { DescribeSpotInstanceRequestsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  try {
    const { SpotInstanceRequests = [] } = await ec2.send(
      new DescribeSpotInstanceRequestsCommand({
        Filters: [
          { Name: `tag:${TAG.key}`, Values: [key] },
          { Name: 'state', Values: ['open'] },
        ],
      }),
    );
    const ids = SpotInstanceRequests.map(({ SpotInstanceRequestId }) => SpotInstanceRequestId!);
    if (ids.length) await cancelSpot(aws, ids, reporter);
  } catch (error) {
    reporter.warn(awsProblem('SPOT_REQUEST', 'Could not look for open spot requests.', error).message);
  }
}

/** What can't be cancelled is no reason to let the instance live. */
async function cancelSpot(aws: Aws, ids: string[], reporter: Reporter): Promise<void> {
  const { CancelSpotInstanceRequestsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  try {
    await ec2.send(new CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: ids }));
  } catch (error) {
    if (awsCode(error) === 'InvalidSpotInstanceRequestID.NotFound') return;
    reporter.warn(awsProblem('SPOT_REQUEST', `Could not cancel the spot request ${ids.join(', ')}.`, error).message);
  }
}

async function whenSeen(ask: () => Promise<unknown>, what: string, signal?: AbortSignal): Promise<void> {
  const until = Date.now() + UNSEEN;
  for (;;) {
    try {
      await ask();
      return;
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (awsCode(error) !== 'InvalidInstanceID.NotFound' || Date.now() > until)
        throw awsProblem('INSTANCE_END', what, error, hint(awsCode(error)));
    }
    await pause(1_000, signal);
  }
}

function hint(code: string | undefined): string | undefined {
  return code === 'OperationNotPermitted'
    ? 'It is protected: aws ec2 modify-instance-attribute --no-disable-api-termination (or --no-disable-api-stop) --instance-id i-…'
    : undefined;
}
