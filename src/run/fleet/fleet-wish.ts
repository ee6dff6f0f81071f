import { hash } from 'node:crypto';
import type { RequestLaunchTemplateData } from '@aws-sdk/client-ec2';
import type { Description } from '../../config/description';
import { assertProfile } from '../../instance/assert-profile';
import type { FleetWish } from '../../instance/fleet';
import { imagesOf, type Image } from '../../instance/image';
import { launchParameters, lifetimeOf } from '../../instance/launch-parameters';
import { machineTypes } from '../../instance/machine-type';
import type { Owner } from '../../instance/made';
import { placements, type Try } from '../../instance/placement';
import { priceOf, type Price } from '../../instance/price';
import type { KeeperWish } from '../../instance/user-data';
import { Problem } from '../../report/problem';
import { runTime } from '../run-id';
import type { RunsSession } from '../session';

/** What is known of a fleet before its run is. */
export interface Ground {
  description: Description;
  owner: Owner;
  image: Image;
  tries: Try[];
  /** Of the first type, where it is cheapest. */
  price: Price | null;
}

/** Looks up what the instances may be. @throws Problem where they can't be one fleet's. */
export async function lookUpGround(
  { aws, configuration, reporter }: RunsSession,
  description: Description,
  owner: Owner,
  signal?: AbortSignal,
): Promise<Ground> {
  await assertProfile(aws, description, signal);
  const [types, tries, price] = await Promise.all([
    machineTypes(aws, description.types, signal),
    placements(aws, description, signal),
    priceOf(aws, { type: description.types[0], market: 'spot' }, configuration.pricePerHour, (text) =>
      reporter.detail(text),
    ),
  ]);
  const images = await imagesOf(aws, description.ami, types, signal);
  const [image, ...others] = new Map([...images.values()].map((each) => [each.id, each])).values();
  if (others.length) {
    const of = [...images].map(([type, { architecture, id }]) => `${type}: ${id} (${architecture})`);
    throw new Problem('FLEET_TYPES', `A fleet boots from one image, and these types have several: ${of.join(', ')}.`, {
      next: 'Name types of one architecture, with a GPU or all without, or an "ami" that fits all.',
    });
  }
  return { description, owner, image, tries, price };
}

/** ms since the epoch: then all that a run has ends. It follows from the run, so that who begins again says the same. */
export function deadlineOf({ description, price }: Ground, run: string): number {
  return runTime(run) + lifetimeOf(description, price).lifetime * 1000;
}

/** The fleet of a run. @param boot null: its launch template is there and decides. */
export function fleetWish(
  { configuration }: RunsSession,
  ground: Ground,
  run: string,
  boot: KeeperWish['boot'],
): FleetWish {
  const { description, owner, image, tries, price } = ground;
  const deadline = deadlineOf(ground, run);
  const parameters = launchParameters(description, tries[0], image, price, {
    owner,
    // Its own: what is found by its description is not the run's instance.
    key: hash('sha256', run, 'hex').slice(0, 24),
    store: `${configuration.bucket}/${configuration.prefix}`,
    root: configuration.remoteRoot ?? null,
    made: 'remote-train',
    ...{ run, deadline, boot },
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
    places: tries
      .map(({ type, subnet }) => ({ type, subnet }))
      .sort((a, b) => (`${a.type} ${a.subnet}` < `${b.type} ${b.subnet}` ? -1 : 1)),
    tags: TagSpecifications[0].Tags!,
  };
}
