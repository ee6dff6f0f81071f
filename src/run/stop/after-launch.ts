import type { LaunchSpec } from '../../config/schema/launch-spec';
import type { RunContext } from '../../context/types';
import { listOwnedInstances, type InstanceInfo } from '../../instance/describe/describe-instances';
import { specHash, TAG, type Owner } from '../../instance/describe/ownership';
import { launchKeys } from '../../instance/pool/members';
import { LaunchJournal, type StoredLaunch } from '../../instance/launch/launch-journal';
import type { RequiredTags } from '../../instance/stop/required-tags';
import { cancelOpenRequests } from '../../instance/stop/terminate';
import { Problem } from '../../report/problem';
import { instancesList, nxRun } from '../../report/shell-words';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatDuration } from '../../report/units';
import { steadyNow } from '../../system/moment';
import { sleep } from '../../system/sleep';

/** What a launch that was killed has launched is seen by EC2's lists after so long, ms. */
const EC2_LAG_MS = 10_000;
/** A launch that others continue is waited for no longer than that, ms. */
export const LAUNCH_WAIT = { timeout: 60_000 };

interface AfterLaunch {
  /** Those that live or are ending. */
  own: InstanceInfo[];
  /** How often the journal of the launch was seen changed, if it was still changing in the end; null: EC2's list is complete. */
  changes: number | null;
}

/**
 * Lists the instances of a project, once EC2 must know of what a killed launch has launched. Anybody who writes to the
 * bucket can make a launch look new again and again, so the wait has a limit.
 */
export async function instancesAfterLaunch(
  { aws, store, keys, printer, project, configuration }: RunContext,
  owner: Owner,
  launchSpec: LaunchSpec,
  required: RequiredTags,
  signal?: AbortSignal,
): Promise<AfterLaunch> {
  const launches = launchesOf(owner, launchSpec, configuration.train.nodes).map(({ key, count }) => {
    return { key, count, journal: new LaunchJournal(store, launchKeys(keys, owner), key) };
  });
  const etags = new Set<string>();
  for (const began = steadyNow(); ; await sleep(1_000, signal)) {
    const [own, ...read] = await Promise.all([
      listOwnedInstances(aws, owner, signal, true),
      ...launches.map(({ journal }) => journal.read(signal)),
    ]);
    const pending = read.filter((launch, n) => {
      const { key, count } = launches[n];
      return isOpen(launch) && own.filter(({ tags }) => tags[TAG.key] === key).length < count;
    });
    const isTimedOut = steadyNow() - began >= LAUNCH_WAIT.timeout;
    if (!pending.length || isTimedOut) {
      for (const { key } of launches) await cancelOpenRequests(aws, key, required, printer);
      return { own, changes: pending.length ? etags.size : null };
    }
    if (!etags.size)
      printer.line(
        `A launch for ${sanitizeForTerminal(project)} was recorded a moment ago; waiting up to ${formatDuration(LAUNCH_WAIT.timeout)} until EC2 lists its instance.`,
      );
    for (const launch of pending) etags.add(launch!.etag);
  }
}

/** What may have been launched: one by remote-up, as many as it has nodes by a training; in a pool, one in each slot. */
function launchesOf(owner: Owner, launchSpec: LaunchSpec, nodes: number): { key: string; count: number }[] {
  const { pool } = launchSpec;
  if (!pool) return [...new Set([1, nodes])].map((count) => ({ key: specHash(owner, launchSpec, count), count }));
  return Array.from({ length: pool.size }, (_, slot) => ({ key: specHash(owner, launchSpec, 1, slot), count: 1 }));
}

/** Whether a launch may have launched something a moment ago. */
function isOpen(launch: StoredLaunch | null): boolean {
  if (!launch?.state || launch.age >= EC2_LAG_MS) return false;
  const { instances, n, launchOptions } = launch.state;
  return instances.length > 0 || n < launchOptions.length;
}

/** Explains that an instance may still be launched after all that EC2 lists was taken down. */
export function launchChanges(project: string, changes: number, ended: string[], stop: boolean): Problem {
  const did = ended.length
    ? `${stop ? 'Stopped' : 'Terminated'} what EC2 lists: ${ended.join(', ')}.`
    : 'EC2 lists no instance of the project.';
  return new Problem(
    'STORE_CHANGED',
    `The launch journal of ${sanitizeForTerminal(project)} was still changing after ${formatDuration(LAUNCH_WAIT.timeout)} (${changes} versions), so an instance may still be launched. ${did}`,
    {
      next: `Another command is launching an instance, or somebody else writes to the bucket. Stop it, then run again: ${nxRun(project, 'remote-down')}\nTo see all instances: ${instancesList()}`,
    },
  );
}
