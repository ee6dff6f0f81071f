import { byAge, type InstanceInfo } from '../describe/describe-instances';
import type { LaunchOption } from './launch-options';

/** By their number in the launch, which is the same for every client; of instances of several launches, by their ids. */
export function byLaunchIndex(one: InstanceInfo, other: InstanceInfo): number {
  return one.launchIndex - other.launchIndex || Number(one.id > other.id) - Number(one.id < other.id);
}

/** Where an instance is, as the option by which others are launched beside it. */
export function optionOf({ type, subnet, zone, market }: InstanceInfo): LaunchOption {
  return { type, subnet: subnet ?? '', zone: zone ?? '', market };
}

/**
 * The instances that are used together: of one type, subnet and market.
 * @param found those to be preferred first.
 * @returns `count`, or fewer: the set that lacks the fewest.
 */
export function chooseSet(found: readonly InstanceInfo[], count: number): InstanceInfo[] {
  if (count === 1) return found.slice(0, 1);
  const sets = new Map<string, InstanceInfo[]>();
  for (const each of found) {
    const name = JSON.stringify(optionOf(each));
    sets.set(name, [...(sets.get(name) ?? []), each]);
  }
  const chosen = [...sets.values()].map((set) => set.slice(0, count));
  // A stable sort: of equal ones, the first is preferred.
  return chosen.sort((one, other) => other.length - one.length)[0] ?? [];
}

/** Whether these are the same instances, in any order. */
export function isSameSet(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((id) => other.includes(id));
}

/** Whether, of two sets of instances, the first has the oldest. */
export function isOlder(one: readonly InstanceInfo[], other: readonly InstanceInfo[]): boolean {
  const [oldest] = [...one].sort(byAge);
  return oldest !== undefined && other.every((each) => byAge(oldest, each) < 0);
}
