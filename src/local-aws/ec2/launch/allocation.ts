import { AwsError } from '../../protocol/aws-error';
import type { CapacityReservations, ReservationRequest } from '../reservations/capacity-reservations';
import { shortageError, type Capacity, type Fit, type LaunchCount, type Place, type Shortage } from './capacity';
import type { CheckedLaunch } from './checked-launch';

/** A launch in one of its zones. */
export interface Site {
  checked: CheckedLaunch;
  zone: string;
}

export interface Allocation<S extends Site> {
  launches: { site: S; count: number }[];
  /** Of each site that has less than was wanted of it. */
  refusals: { site: S; error: AwsError }[];
}

interface Supply {
  capacity: Capacity;
  reservations: CapacityReservations;
}

/**
 * Distributes the instances of a launch over the sites of one group: the first group with capacity for all, else the one
 * with the most. With less than the fewest there are no launches.
 */
export function allocate<S extends Site>(groups: S[][], { min, max }: LaunchCount, supply: Supply): Allocation<S> {
  const limits = new Set<Shortage>();
  const refusals: Allocation<S>['refusals'] = [];
  let best: Allocation<S>['launches'] = [];
  for (const group of groups) {
    const plan = planner(supply);
    const launches: typeof best = [];
    for (const site of group) {
      const { count, limit, error } = plan(site, max - total(launches));
      if (limit) limits.add(limit);
      if (error) refusals.push({ site, error });
      launches.push({ site, count });
    }
    if (total(launches) > total(best)) best = launches;
    if (total(best) === max) break;
  }
  supply.capacity.countDown(limits);
  return { launches: total(best) < min ? [] : best.filter(({ count }) => count > 0), refusals };
}

interface SiteFit extends Fit {
  error?: AwsError;
}

/** Like the planner of the capacity, with reserved capacity first. */
function planner({ capacity, reservations }: Supply): (site: Site, max: number) => SiteFit {
  const plan = capacity.planner();
  const taken = new Map<string, number>();
  return (site, max) => {
    const place = placeOf(site);
    let reserved = 0;
    for (const each of reservations.usable(reservationRequest(site))) {
      const before = taken.get(each.id) ?? 0;
      const count = Math.min(max - reserved, reservations.free(each) - before);
      taken.set(each.id, before + count);
      reserved += count;
    }
    const { preference, target } = site.checked.reservation;
    if (preference === 'capacity-reservations-only')
      return reserved < max ? { count: reserved, error: reservationError(target) } : { count: reserved };
    const { count, limit } = plan(place, max - reserved);
    return { count: reserved + count, limit, error: limit && shortageError(limit, place, site.checked.chosen) };
  };
}

export function reservationRequest({ checked, zone }: Site): ReservationRequest {
  return { type: checked.type.name, zone, choice: checked.reservation };
}

function reservationError(target: string | undefined): AwsError {
  if (target === undefined)
    return new AwsError(
      'InsufficientInstanceCapacity',
      'There is not enough capacity in open Capacity Reservations that match your request.',
      500,
    );
  return new AwsError(
    'ReservationCapacityExceeded',
    `The requested reservation ${target} does not have sufficient compatible and available capacity for this request.`,
  );
}

function placeOf({ checked, zone }: Site): Place {
  return { zone, type: checked.type.name, market: checked.spot ? 'spot' : 'on-demand' };
}

function total(launches: { count: number }[]): number {
  return launches.reduce((sum, { count }) => sum + count, 0);
}
