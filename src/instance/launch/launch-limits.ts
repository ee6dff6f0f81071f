import type { LaunchSpec } from '../../config/schema/launch-spec';
import { formatDuration } from '../../report/units';
import type { InstanceInfo } from '../describe/describe-instances';
import { TAG } from '../describe/ownership';
import { endOf, readTags } from '../describe/tags';

/** When an instance shuts itself down, by the limits of its launch, which its tags say. @param now ms since the epoch, by AWS's clock. */
export function describeLimits({ tags, launchedAt }: Pick<InstanceInfo, 'tags' | 'launchedAt'>, now: number): string {
  const read = readTags(tags);
  const end = endOf(launchedAt, read);
  const limits = end ? [`at most ${formatDuration(end.at - now)} more`] : [];
  if (read.idle !== null) limits.push(`${formatDuration(read.idle)} idle`);
  return limits.length ? ` It shuts down after ${limits.join(', or ')}.` : '';
}

/** In which limits an instance differs from a launch spec, because it was launched with others; empty: in none. */
export function otherLimits(tags: Record<string, string>, launchSpec: LaunchSpec, count = 1): string[] {
  const { lifetime, idle, finish, price } = readTags(tags);
  const { maxLifetime, maxCost, idleTimeout, onFinish, shutdown } = launchSpec;
  const bought = maxCost !== undefined && price ? (maxCost / (price.perHour * count)) * 3_600_000 : Infinity;
  const most = Math.min(maxLifetime, bought);
  const others: string[] = [];
  // Tags count whole seconds.
  const differs = (one: number, other: number) => Math.abs(one - other) >= 1000;
  if (lifetime !== null && differs(lifetime, most)) {
    const key = bought < maxLifetime ? 'maxCost' : 'maxLifetime';
    others.push(`a lifetime of ${formatDuration(lifetime)}, not ${formatDuration(most)} ("${key}")`);
  }
  if (differs(idle ?? Infinity, idleTimeout || Infinity))
    others.push(`${idleTime(idle)}, not ${idleTime(idleTimeout || null)} ("idleTimeout")`);
  if (finish && tags[TAG.by] === 'remote-train') {
    const after = (outcome: 'success' | 'failure') => {
      const [is, set] = [finish[outcome] ?? Infinity, onFinish[outcome] ?? Infinity];
      if (differs(is, set) || (Number.isFinite(set) && finish.shutdown !== shutdown))
        others.push(
          `after a ${outcome}, ${fate(is, finish.shutdown)}, not ${fate(set, shutdown)} ("onFinish.${outcome}")`,
        );
    };
    after('success');
    after('failure');
  }
  return others;
}

function idleTime(idle: number | null): string {
  return idle === null ? 'no idle timeout' : `${formatDuration(idle)} idle`;
}

/** As `onFinish` has it. */
function fate(kept: number, shutdown: string): string {
  if (!Number.isFinite(kept)) return 'keep';
  return kept === 0 ? shutdown : `keep ${formatDuration(kept)}`;
}
