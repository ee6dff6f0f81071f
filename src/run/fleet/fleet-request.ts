import { hash } from 'node:crypto';
import type { RequestLaunchTemplateData } from '@aws-sdk/client-ec2';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { assertProfile } from '../../instance/launch/assert-profile';
import type { FleetRequest } from '../../instance/fleet/fleet';
import { imagesOf, type Image } from '../../instance/launch/image';
import { launchParameters, lifetimeOf } from '../../instance/launch/launch-parameters';
import { machineTypes } from '../../instance/launch/machine-type';
import type { Owner } from '../../instance/describe/ownership';
import { describeLaunchOption, placements, type LaunchOption } from '../../instance/launch/launch-options';
import { nodeNetwork, unknownNetwork } from '../../instance/launch/node-network';
import { priceOf, type Price } from '../../instance/price/price';
import type { WatchdogConfig } from '../../instance/launch/user-data';
import { Problem } from '../../report/problem';
import { runTime } from '../record/run-id';
import type { RunContext } from '../../context/types';

/** What is known of a fleet before its run is. */
export interface FleetInputs {
  launchSpec: LaunchSpec;
  nodes: number;
  owner: Owner;
  image: Image;
  /** Of several nodes one: all are of one type, in one subnet, also those that replace others. */
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
  const { nodes } = configuration.train;
  await assertProfile(aws, launchSpec, signal);
  const options = await launchOptions({ aws, printer }, launchSpec, nodes, signal);
  const [types, price] = await Promise.all([
    machineTypes(aws, nodes > 1 ? [options[0].type] : launchSpec.types, signal),
    priceOf(
      aws,
      { type: nodes > 1 ? options[0].type : launchSpec.types[0], market: 'spot' },
      configuration.pricePerHour,
      (text) => printer.detail(text),
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
  return { launchSpec, nodes, owner, image, options, price };
}

async function launchOptions(
  { aws, printer }: Pick<RunContext, 'aws' | 'printer'>,
  launchSpec: LaunchSpec,
  nodes: number,
  signal?: AbortSignal,
): Promise<LaunchOption[]> {
  const all = await placements(aws, launchSpec, signal);
  if (nodes === 1) return all;
  const { options, unknown } = await nodeNetwork(aws, launchSpec, all, nodes, signal);
  if (unknown !== null) printer.warn(unknownNetwork(unknown));
  printer.line(`The ${nodes} nodes are launched as ${describeLaunchOption(options[0])}.`);
  return options.slice(0, 1);
}

/** ms since the epoch: then all that a run has ends. It follows from the run, so that who begins again says the same. */
export function deadlineOf({ launchSpec, nodes, price }: FleetInputs, run: string): number {
  return runTime(run) + lifetimeOf(launchSpec, price, nodes).lifetime * 1000;
}

/** The fleet of a run. @param boot null: its launch template is there and decides. */
export function fleetRequest(
  { configuration }: RunContext,
  inputs: FleetInputs,
  run: string,
  boot: WatchdogConfig['boot'],
): FleetRequest {
  const { launchSpec, nodes, owner, image, options, price } = inputs;
  const deadline = deadlineOf(inputs, run);
  const parameters = launchParameters(launchSpec, options[0], image, price, {
    owner,
    // A key of its own: the instance of the launch spec is not the run's.
    key: hash('sha256', run, 'hex').slice(0, 24),
    store: `${configuration.bucket}/${configuration.prefix}`,
    root: configuration.remoteRoot ?? null,
    made: 'remote-train',
    count: nodes,
    run,
    deadline,
    boot,
  });
  const { TagSpecifications = [], NetworkInterfaces = [], ...rest } = parameters;
  // A fleet says by itself how many there are, on which market, and, unless the template does, of which type.
  const { MinCount: _, MaxCount: __, InstanceType, InstanceMarketOptions: ___, ...instance } = rest;
  const isOnePlace = nodes > 1;
  return {
    run,
    nodes,
    deadline,
    instance: {
      ...instance,
      ...(isOnePlace ? { InstanceType } : {}),
      NetworkInterfaces: NetworkInterfaces.map(({ SubnetId, ...each }) => (isOnePlace ? { ...each, SubnetId } : each)),
      TagSpecifications: TagSpecifications.filter(({ ResourceType }) => /^(instance|volume)$/.test(ResourceType!)),
    } as RequestLaunchTemplateData,
    // In one order, whatever they cost today: asked for again, it must be the same fleet.
    places: (isOnePlace ? [] : options)
      .map(({ type, subnet }) => ({ type, subnet }))
      .sort((a, b) => (`${a.type} ${a.subnet}` < `${b.type} ${b.subnet}` ? -1 : 1)),
    tags: TagSpecifications[0].Tags!,
  };
}
