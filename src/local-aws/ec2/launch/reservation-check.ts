import type { InstanceType } from '../../catalog/instance-types';
import type { Zone } from '../../catalog/network';
import { AwsError } from '../../protocol/aws-error';
import type {
  CapacityReservation,
  CapacityReservations,
  ReservationChoice,
} from '../reservations/capacity-reservations';
import type { LaunchSpec } from '../request/launch-specification';

const PREFERENCES = ['open', 'none', 'capacity-reservations-only'] as const;

/**
 * The codes with which EC2 refuses a reservation that a launch does not match are not established.
 * @throws AwsError where the launch can't use what it names.
 */
export function checkReservation(spec: LaunchSpec, reservations: CapacityReservations): ReservationChoice {
  const { preference, target } = spec.reservation ?? {};
  const found = target === undefined ? undefined : reservations.find(target);
  const known = PREFERENCES.find((each) => each === preference);
  if (preference !== undefined && known === undefined)
    throw new AwsError('InvalidParameterValue', `Invalid value '${preference}' for CapacityReservationPreference.`);
  if (found && known !== undefined && known !== 'capacity-reservations-only')
    throw combination(`CapacityReservationTarget and the preference ${known} can not be used together.`);
  checkMarket(spec, found, known);
  if (found) return { preference: 'capacity-reservations-only', target };
  return { preference: spec.market?.type === 'spot' ? 'none' : (known ?? 'open') };
}

function checkMarket(
  { market, placementGroup }: LaunchSpec,
  target: CapacityReservation | undefined,
  preference: ReservationChoice['preference'] | undefined,
): void {
  const isBlock = market?.type === 'capacity-block';
  if (market && !isBlock && (target || preference === 'capacity-reservations-only'))
    throw combination('Spot Instances can not be launched into a Capacity Reservation.');
  if (isBlock && target?.kind !== 'capacity-block')
    throw combination('The market type capacity-block needs a CapacityReservationTarget that is a Capacity Block.');
  if (!isBlock && target?.kind === 'capacity-block')
    throw combination('A Capacity Block needs the market type capacity-block.');
  if (isBlock && placementGroup)
    throw combination('Instances in a Capacity Block can not be launched into a placement group.');
}

/** @returns the zone of the reservation that a launch names, or all zones. @throws AwsError where it does not match. */
export function zonesOfReservation(
  { target }: ReservationChoice,
  reservations: CapacityReservations,
  type: InstanceType,
  zones: Zone[],
): Zone[] {
  if (target === undefined) return zones;
  const found = reservations.find(target);
  const left = zones.filter(({ name }) => name === found.zone);
  if (found.type !== type.name || !left.length)
    throw new AwsError(
      'InvalidParameterValue',
      `The Capacity Reservation ${target} is for ${found.type} in ${found.zone}: the instance type and the Availability Zone of the launch must match it.`,
    );
  return left;
}

function combination(message: string): AwsError {
  return new AwsError('InvalidParameterCombination', message);
}
