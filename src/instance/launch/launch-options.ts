import type { DescribeInstanceTypeOfferingsCommandInput } from '@aws-sdk/client-ec2';
import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { Problem } from '../../report/problem';
import { priceOf } from '../price/price';

/** One way to get an instance: docs/reference/formats.md, "Launch". */
export interface LaunchOption {
  type: string;
  subnet: string;
  zone: string;
  market: 'spot' | 'on-demand';
  /** In the cluster placement group of the launch. */
  placement?: 'cluster';
}

interface Subnet {
  id: string;
  zone: string;
}

/** `g5.xlarge (spot) in eu-west-1a`, or `… in a placement group in eu-west-1a`. */
export function describeLaunchOption({ type, zone, market, placement }: LaunchOption): string {
  return `${type}${market === 'spot' ? ' (spot)' : ''} in ${placement ? 'a placement group in ' : ''}${zone}`;
}

export function isSameLaunchOption(one: LaunchOption, other: LaunchOption): boolean {
  return (['type', 'subnet', 'zone', 'market', 'placement'] as const).every((key) => one[key] === other[key]);
}

/**
 * The tries, in their order: type by type, each in all its zones, those of spot by price; and where on-demand may be
 * taken instead, all of that after it.
 * @throws Problem where no subnet is in a zone that has a type.
 */
export async function placements(aws: Aws, launchSpec: LaunchSpec, signal?: AbortSignal): Promise<LaunchOption[]> {
  const [subnets, zones] = await Promise.all([
    subnetsOf(aws, launchSpec, signal),
    offerings(aws, launchSpec.types, signal),
  ]);
  const places = launchSpec.types.flatMap((type) =>
    subnets.filter(({ zone }) => zones.get(type)?.has(zone)).map(({ id, zone }) => ({ type, subnet: id, zone })),
  );
  if (!places.length) throw notThere(launchSpec, subnets, zones);
  const markets = launchSpec.spot === false ? [] : await byPrice(aws, launchSpec.types, places);
  return [
    ...markets.map((place): LaunchOption => ({ ...place, market: 'spot' })),
    ...(launchSpec.spot === true ? [] : places.map((place): LaunchOption => ({ ...place, market: 'on-demand' }))),
  ];
}

/** Those that are named, as they are named; else the default one of each zone. */
async function subnetsOf(aws: Aws, { subnets }: LaunchSpec, abortSignal?: AbortSignal): Promise<Subnet[]> {
  const { DescribeSubnetsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const which = subnets ? { SubnetIds: subnets } : { Filters: [{ Name: 'default-for-az', Values: ['true'] }] };
  const answer = await ec2.send(new DescribeSubnetsCommand(which), { abortSignal }).catch((error: unknown) => {
    throw /^InvalidSubnetID/.test(awsCode(error) ?? '')
      ? awsProblem(
          'SUBNET',
          'A subnet of "instance.subnet" does not exist.',
          error,
          'Check it, "region" and "profile".',
        )
      : awsProblem('SUBNET', 'Could not look up subnets.', error);
  });
  const found = (answer.Subnets ?? []).map(({ SubnetId, AvailabilityZone }) => ({
    id: SubnetId!,
    zone: AvailabilityZone!,
  }));
  if (subnets) return subnets.map((id) => found.find((each) => each.id === id)!);
  if (!found.length)
    throw new Problem('SUBNET', `The region ${await aws.region()} has no default VPC with a subnet.`, {
      next: 'Set "instance.subnet".',
      settings: ['region'],
    });
  return found.sort((a, b) => (a.zone < b.zone ? -1 : 1));
}

/** The zones that have each type. */
async function offerings(
  aws: Aws,
  types: readonly string[],
  abortSignal?: AbortSignal,
): Promise<Map<string, Set<string>>> {
  const { paginateDescribeInstanceTypeOfferings } = sdk.ec2();
  const config = { client: await aws.ec2() };
  const zones = new Map<string, Set<string>>(types.map((type) => [type, new Set()]));
  const request: DescribeInstanceTypeOfferingsCommandInput = {
    LocationType: 'availability-zone',
    Filters: [{ Name: 'instance-type', Values: [...types] }],
  };
  try {
    for await (const page of paginateDescribeInstanceTypeOfferings(config, request, { abortSignal }))
      for (const { InstanceType, Location } of page.InstanceTypeOfferings ?? [])
        zones.get(InstanceType!)?.add(Location!);
  } catch (error) {
    throw awsProblem('INSTANCE_TYPE', `Could not look up the zones that offer ${types.join(', ')}.`, error);
  }
  return zones;
}

/** In the order of the types, and of each type's spot prices; what has none known comes last. */
async function byPrice<Place extends { type: string; zone: string }>(
  aws: Aws,
  types: readonly string[],
  places: readonly Place[],
): Promise<Place[]> {
  const priced = await Promise.all(
    places.map(async (place) => ({
      place,
      price: (await priceOf(aws, { ...place, market: 'spot' }))?.perHour ?? Infinity,
    })),
  );
  return types.flatMap((type) =>
    priced
      .filter(({ place }) => place.type === type)
      .sort((a, b) => (a.price === b.price ? 0 : a.price - b.price))
      .map(({ place }) => place),
  );
}

function notThere({ types }: LaunchSpec, subnets: Subnet[], zones: Map<string, Set<string>>): Problem {
  const where = types.map((type) => `${type}: ${[...(zones.get(type) ?? [])].sort().join(', ') || 'no zone'}`);
  return new Problem(
    'INSTANCE_TYPE',
    `No subnet is in a zone that offers the type. The subnets are in ${[...new Set(subnets.map(({ zone }) => zone))].join(', ')}.`,
    {
      next: `The types are offered in\n  ${where.join('\n  ')}\nName a subnet there, or another type.`,
      settings: ['instance.subnet', 'instance.type', 'region'],
    },
  );
}
