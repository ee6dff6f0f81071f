import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import { sleep } from '../../system/sleep';
import { Problem } from '../../report/problem';
import type { Printer } from '../../report/printer';
import {
  assertChecked,
  openRequests,
  NEW_INSTANCE_LAG_MS,
  type ManagedFleet,
  type ManagedGroup,
  type ManagedInstance,
  type ManagedRequest,
  type ManagedTemplate,
  type ManagedVolume,
  type UserInstance,
} from './managed';
import type { RequiredTags } from './required-tags';
import { steadyNow } from '../../system/moment';
import { commandLine } from '../../report/shell-words';

/*
 * The only file that sends EC2 a request that starts, stops, terminates, cancels or deletes. It takes what `managed.ts`
 * has checked and nothing else: an id from the bucket, a tag or an option is never enough to terminate or delete.
 */

/** Asks EC2 to terminate an instance, its spot request first; does not wait until it has. */
export function terminate(aws: Aws, instance: ManagedInstance, printer: Printer, signal?: AbortSignal): Promise<void> {
  return terminateAll(aws, [instance], printer, signal);
}

/** The same for several, in one request: a client that is killed leaves all of them or none. */
export async function terminateAll(
  aws: Aws,
  instances: readonly ManagedInstance[],
  printer: Printer,
  signal?: AbortSignal,
): Promise<void> {
  instances.forEach(assertChecked);
  if (!instances.length) return;
  const { TerminateInstancesCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const requests = instances.flatMap(({ spotRequest }) => spotRequest ?? []);
  if (requests.length) await cancelSpot(aws, requests, printer);
  const InstanceIds = instances.map(({ id }) => id);
  await whenSeen(
    () => ec2.send(new TerminateInstancesCommand({ InstanceIds }), { abortSignal: signal }),
    `Could not terminate ${InstanceIds.join(', ')}.`,
    signal,
  );
}

/** Asks EC2 to stop an instance. */
export async function stop(aws: Aws, instance: ManagedInstance | UserInstance, signal?: AbortSignal): Promise<void> {
  assertChecked(instance);
  const { id } = instance;
  const { StopInstancesCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const command = new StopInstancesCommand({ InstanceIds: [id] });
  await whenSeen(() => ec2.send(command, { abortSignal: signal }), `Could not stop ${id}.`, signal);
}

/** Asks EC2 to start an instance, once: the caller knows what each answer means. */
export async function requestStart(
  aws: Aws,
  instance: ManagedInstance | UserInstance,
  abortSignal?: AbortSignal,
): Promise<void> {
  assertChecked(instance);
  const { StartInstancesCommand } = sdk.ec2();
  const ec2 = await aws.ec2Once();
  await ec2.send(new StartInstancesCommand({ InstanceIds: [instance.id] }), { abortSignal });
}

/**
 * Cancels the spot requests of a launch that are still open: capacity that came for one after the next option was tried
 * would be a second instance.
 */
export async function cancelOpenRequests(
  aws: Aws,
  key: string,
  required: RequiredTags,
  printer: Printer,
): Promise<void> {
  try {
    const open = await openRequests(aws, key, required);
    const ids = open.map(({ id }) => id);
    if (ids.length) await cancelSpot(aws, ids, printer);
  } catch (error) {
    printer.warn(awsProblem('SPOT_REQUEST', 'Could not look for open spot requests.', error).message);
  }
}

/** @throws AWS's error */
export async function cancelRequest(aws: Aws, request: ManagedRequest): Promise<void> {
  assertChecked(request);
  const { CancelSpotInstanceRequestsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  await ec2.send(new CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [request.id] }));
}

/** Why EC2 does not delete a fleet that is deleted already. */
const ALREADY_DELETED = ['fleetIdDoesNotExist', 'fleetNotInDeletableState'];

/** Deletes fleets with their instances; those that are deleted already are left. */
export async function deleteFleets(aws: Aws, fleets: ManagedFleet[]): Promise<void> {
  fleets.forEach(assertChecked);
  if (!fleets.length) return;
  const ids = fleets.map(({ id }) => id);
  const { DeleteFleetsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const answer = await ec2
    .send(new DeleteFleetsCommand({ FleetIds: ids, TerminateInstances: true }))
    .catch((error: unknown) => {
      throw awsProblem(
        'FLEET',
        `Could not delete the fleet ${ids.join(', ')}, which will launch more instances.`,
        error,
      );
    });
  const { SuccessfulFleetDeletions: deleted = [], UnsuccessfulFleetDeletions: refused = [] } = answer;
  const unnamed = ids.find((id) => ![...deleted, ...refused].some(({ FleetId }) => FleetId === id));
  if (unnamed !== undefined)
    throw new Problem(
      'FLEET',
      `EC2 does not say whether it has deleted the fleet ${unnamed}: it may launch more instances.`,
      {
        next: 'Run the same command again.',
      },
    );
  const [failed] = refused.filter(({ Error: why }) => !ALREADY_DELETED.includes(why?.Code ?? ''));
  if (failed)
    throw new Problem('FLEET', `Could not delete the fleet ${failed.FleetId}, which will launch more instances.`, {
      aws: { code: String(failed.Error?.Code), message: String(failed.Error?.Message) },
      next: commandLine('aws', 'ec2', 'delete-fleets', '--terminate-instances', '--fleet-ids', String(failed.FleetId)),
    });
}

export async function deleteTemplate(aws: Aws, template: ManagedTemplate): Promise<void> {
  assertChecked(template);
  const { DeleteLaunchTemplateCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const command = new DeleteLaunchTemplateCommand({ LaunchTemplateId: template.id });
  await ec2.send(command).catch((error: unknown) => {
    if (/NotFound/.test(awsCode(error) ?? '')) return;
    throw awsProblem('FLEET', `Could not delete the launch template ${template.id}.`, error);
  });
}

/** @throws AWS's error */
export async function deleteVolume(aws: Aws, volume: ManagedVolume): Promise<void> {
  assertChecked(volume);
  const { DeleteVolumeCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  await ec2.send(new DeleteVolumeCommand({ VolumeId: volume.id }));
}

/** @throws AWS's error, InvalidPlacementGroup.InUse until its instances are terminated. */
export async function deletePlacementGroup(aws: Aws, group: ManagedGroup): Promise<void> {
  assertChecked(group);
  const { DeletePlacementGroupCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  await ec2.send(new DeletePlacementGroupCommand({ GroupName: group.id })).catch((error: unknown) => {
    if (awsCode(error) !== 'InvalidPlacementGroup.Unknown') throw error;
  });
}

/** A request that can't be cancelled is no reason to let the instance live. */
async function cancelSpot(aws: Aws, ids: string[], printer: Printer): Promise<void> {
  const { CancelSpotInstanceRequestsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  try {
    await ec2.send(new CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: ids }));
  } catch (error) {
    if (awsCode(error) === 'InvalidSpotInstanceRequestID.NotFound') return;
    printer.warn(awsProblem('SPOT_REQUEST', `Could not cancel the spot request ${ids.join(', ')}.`, error).message);
  }
}

async function whenSeen(ask: () => Promise<unknown>, what: string, signal?: AbortSignal): Promise<void> {
  const until = steadyNow() + NEW_INSTANCE_LAG_MS;
  for (;;) {
    try {
      await ask();
      return;
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (awsCode(error) !== 'InvalidInstanceID.NotFound' || steadyNow() > until)
        throw awsProblem('INSTANCE_END', what, error, hint(awsCode(error)));
    }
    await sleep(1_000, signal);
  }
}

function hint(code: string | undefined): string | undefined {
  return code === 'OperationNotPermitted'
    ? 'It is protected against this. To remove the protection: aws ec2 modify-instance-attribute --no-disable-api-termination (or --no-disable-api-stop) --instance-id i-…'
    : undefined;
}
