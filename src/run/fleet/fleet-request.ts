import { hash } from 'node:crypto';
import type { RequestLaunchTemplateData } from '@aws-sdk/client-ec2';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { assertProfile } from '../../instance/launch/assert-profile';
import type { FleetRequest } from '../../instance/fleet/fleet';
import { imagesOf, type Image } from '../../instance/launch/image';
import { launchParameters, lifetimeOf } from '../../instance/launch/launch-parameters';
import { machineTypes } from '../../instance/launch/machine-type';
import type { Owner } from '../../instance/describe/ownership';
import { placements, type LaunchOption } from '../../instance/launch/launch-options';
import { priceOf, type Price } from '../../instance/price/price';
import type { WatchdogConfig } from '../../instance/launch/user-data';
import { Problem } from '../../report/problem';
import { runTime } from '../record/run-id';
import type { RunContext } from '../../context/types';

/** What is known of a fleet before its run is. */
export interface FleetInputs {
  launchSpec: LaunchSpec;
  owner: Owner;
  image: Image;
  options: LaunchOption[];
  /** Of the first type, where it is cheapest. */
  price: Price | null;
}

/** Looks up what the instances may be. @throws Problem where they can't be one fleet's. */
export async function resolveFleetInputs(
  { aws, configuration, printer }: RunContext,
  launchSpec: LaunchSpec,
  owner: Owner,
  signal?: AbortSignal,
): Promise<FleetInputs> {
  await assertProfile(aws, launchSpec, signal);
  const [types, options, price] = await Promise.all([
    machineTypes(aws, launchSpec.types, signal),
    placements(aws, launchSpec, signal),
    priceOf(aws, { type: launchSpec.types[0], market: 'spot' }, configuration.pricePerHour, (text) =>
      printer.detail(text),
    ),
  ]);
  const images = await imagesOf(aws, launchSpec.ami, types, signal);
  const [image, ...others] = new Map([...images.values()].map((each) => [each.id, each])).values();
  if (others.length) {
    const of = [...images].map(([type, { architecture, id }]) => `${type}: ${id} (${architecture})`);
    throw new Problem('FLEET_TYPES', `A fleet boots from one image, and these types have several: ${of.join(', ')}.`, {
      next: 'Name types of one architecture, with a GPU or all without, or an "ami" that fits all.',
    });
  }
  return { launchSpec, owner, image, options, price };
}

/** ms since the epoch: then all that a run has ends. It follows from the run, so that who begins again says the same. */
export function deadlineOf({ launchSpec, price }: FleetInputs, run: string): number {
  return runTime(run) + lifetimeOf(launchSpec, price).lifetime * 1000;
}

/** The fleet of a run. @param boot null: its launch template is there and decides. */
export function fleetRequest(
  { configuration }: RunContext,
  inputs: FleetInputs,
  run: string,
  boot: WatchdogConfig['boot'],
): FleetRequest {
  const { launchSpec, owner, image, options, price } = inputs;
  const deadline = deadlineOf(inputs, run);
  const parameters = launchParameters(launchSpec, options[0], image, price, {
    owner,
    // A key of its own: the instance of the launch spec is not the run's.
    key: hash('sha256', run, 'hex').slice(0, 24),
    store: `${configuration.bucket}/${configuration.prefix}`,
    root: configuration.remoteRoot ?? null,
    made: 'remote-train',
    run,
    deadline,
    boot,
  });
  const { TagSpecifications = [], NetworkInterfaces = [], ...rest } = parameters;
  // A fleet says by itself how many there are, of which type, and on which market.
  const { MinCount: _, MaxCount: __, InstanceType: ___, InstanceMarketOptions: ____, ...instance } = rest;
  return {
    run,
    deadline,
    instance: {
      ...instance,
      NetworkInterfaces: NetworkInterfaces.map(({ SubnetId: _____, ...each }) => each),
      TagSpecifications: TagSpecifications.filter(({ ResourceType }) => /^(instance|volume)$/.test(ResourceType!)),
    } as RequestLaunchTemplateData,
    // In one order, whatever they cost today: asked for again, it must be the same fleet.
    places: options
      .map(({ type, subnet }) => ({ type, subnet }))
      .sort((a, b) => (`${a.type} ${a.subnet}` < `${b.type} ${b.subnet}` ? -1 : 1)),
    tags: TagSpecifications[0].Tags!,
  };
}
