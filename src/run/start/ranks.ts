/**
 * Instances in the order of their ranks. Those of the attempt before keep theirs, and the others take the free ones in
 * the order in which they are given.
 * @param before of an instance that it has twice, the later entry counts.
 */
export function byRank<T extends { id: string }>(
  instances: readonly T[],
  before: readonly { rank: number; instance: string }[] = [],
): T[] {
  const rankOf = new Map(before.map(({ rank, instance }) => [instance, rank]));
  const ordered = new Array<T | undefined>(instances.length).fill(undefined);
  const others: T[] = [];
  for (const each of instances) {
    const rank = rankOf.get(each.id);
    if (rank !== undefined && rank < ordered.length && !ordered[rank]) ordered[rank] = each;
    else others.push(each);
  }
  return ordered.map((each) => each ?? others.shift()!);
}
