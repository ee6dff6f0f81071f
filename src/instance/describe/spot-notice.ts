import type { Aws } from '../../aws/clients';
import { awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';

/** Which of these instances AWS has given notice to: it is about to take them away. */
export async function listNoticed(aws: Aws, ids: readonly string[], abortSignal?: AbortSignal): Promise<string[]> {
  if (!ids.length) return [];
  const { DescribeSpotInstanceRequestsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const command = new DescribeSpotInstanceRequestsCommand({ Filters: [{ Name: 'instance-id', Values: [...ids] }] });
  try {
    const { SpotInstanceRequests = [] } = await ec2.send(command, { abortSignal });
    return SpotInstanceRequests.flatMap(({ InstanceId, Status }) =>
      InstanceId !== undefined && Status?.Code?.startsWith('marked-for-') ? [InstanceId] : [],
    );
  } catch (error) {
    throw awsProblem('INSTANCE_DESCRIBE', 'Could not look up the spot requests of the nodes.', error);
  }
}
