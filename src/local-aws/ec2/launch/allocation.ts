import type { AwsError } from '../../protocol/aws-error';
import { shortageError, type Capacity, type LaunchCount, type Place, type Shortage } from './capacity';
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

/**
 * Distributes the instances of a launch over the sites of one group: the first group with capacity for all, else the one
 * with the most. With less than the fewest there are no launches.
 */
export function allocate<S extends Site>(groups: S[][], { min, max }: LaunchCount, capacity: Capacity): Allocation<S> {
  const limits = new Set<Shortage>();
  const refusals: Allocation<S>['refusals'] = [];
  let best: Allocation<S>['launches'] = [];
  for (const group of groups) {
    const fits = capacity.fit(group.map(placeOf), max);
    for (const [index, { limit }] of fits.entries()) {
      if (!limit) continue;
      const site = group[index];
      limits.add(limit);
      refusals.push({ site, error: shortageError(limit, placeOf(site), site.checked.chosen) });
    }
    const launches = group.map((site, index) => ({ site, count: fits[index].count }));
    if (total(launches) > total(best)) best = launches;
    if (total(best) === max) break;
  }
  capacity.countDown(limits);
  return { launches: total(best) < min ? [] : best.filter(({ count }) => count > 0), refusals };
}

function placeOf({ checked, zone }: Site): Place {
  return { zone, type: checked.type.name, market: checked.spot ? 'spot' : 'on-demand' };
}

function total(launches: { count: number }[]): number {
  return launches.reduce((sum, { count }) => sum + count, 0);
}
