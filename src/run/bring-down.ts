import type { Description } from '../config/description';
import type { NamedInstance } from '../config/instance-name';
import { pause } from '../command/run-command';
import { cancelOpenRequests } from '../instance/end-instance';
import { findInstance } from '../instance/find';
import { ownFleets } from '../instance/find-fleet';
import { LaunchJournal } from '../instance/launch-journal';
import { isOwn, lookAt, ownInstances, type LivingInstance } from '../instance/living';
import { FLEET_ID, madeKey, TAG, type Owner } from '../instance/made';
import { describeStopped, takeDown } from '../instance/take-down';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { formatDuration } from '../report/units';
import { isOver } from './fleet/await-attempt';
import { cancelBetween } from './fleet/cancel-fleet';
import { isRunId, readOrNobodys } from './record';
import type { RunsSession } from './session';
import { runsUnderWay } from './under-way';

export interface DownWishes {
  /** Instead of being terminated, which takes the disk. */
  stop: boolean;
  /** Even where a run goes on, or it is a colleague's. */
  force: boolean;
  signal?: AbortSignal;
}

/** What a launch that was killed has launched is seen by EC2's lists after so long, ms. */
const SETTLED = 10_000;

/**
 * Ends, or stops, the instances of a project that were made for this caller, or the one that is named.
 * @returns their ids.
 * @throws Problem before anything is touched, where one must not be.
 */
export async function bringDown(session: RunsSession, owner: Owner, wishes: DownWishes): Promise<string[]> {
  const { aws, reporter, configuration, project } = session;
  const { stop, force, signal } = wishes;
  const { instance } = configuration;
  const described = 'described' in instance ? instance.described : undefined;
  const found = described ? await allOwn(session, owner, described, signal) : [await theNamed(session, owner, wishes)];
  const all = described ? await ownFleets(aws, owner, signal) : [];
  const waiting = all.filter((run) => !found.some(({ tags }) => tags[TAG.run] === run));
  if (!found.length && !waiting.length) {
    reporter.line(`Nothing is up for ${printable(project)}.`);
    return [];
  }
  const spot = found.find(({ market }) => market === 'spot');
  if (stop && spot)
    throw new Problem('SPOT_STOP', `${spot.id} is a spot instance: it can only be terminated.`, {
      next: 'Leave out --stop. Its disk goes with it; what runs have saved is in the store.',
    });
  const running = found.filter(({ state }) => state === 'running' || state === 'pending').map(({ id }) => id);
  if (stop && waiting.length)
    throw new Problem(
      'SPOT_STOP',
      `The fleet of ${printable(waiting[0])} has no instance now: it can only be deleted.`,
      {
        next: 'Leave out --stop. What runs have saved is in the store.',
      },
    );
  const runs = force ? [] : [...(await underWay(session, running)), ...(await awaited(session, waiting))];
  if (runs.length) {
    const lines = runs.map(({ id, how }) => `  ${id} ${how}`);
    throw new Problem('RUN_UNDER_WAY', `A run goes on there:\n${lines.join('\n')}`, {
      next: `Stop it (nx run ${printable(project)}:remote-cancel --run=${runs[0].id}), or take it down all the same with --force.`,
    });
  }
  await endFleets(session, found);
  for (const run of waiting)
    if (await cancelBetween(session, run)) reporter.line(`The fleet of ${printable(run)} is deleted.`);
  const ended = await Promise.allSettled(
    found.map(({ id }) => takeDown(aws, id, stop ? 'stop' : 'terminate', reporter, signal)),
  );
  const failed = ended.find((each) => each.status === 'rejected');
  if (failed) throw failed.reason;
  if (stop) for (const { id } of found) reporter.line(`${id}: ${await describeStopped(aws, id)}`);
  return found.map(({ id }) => id);
}

interface GoingOn {
  id: string;
  how: string;
}

async function underWay({ store, keys }: RunsSession, instances: string[]): Promise<GoingOn[]> {
  const { runs, unverified } = await runsUnderWay(store, keys, new Set(instances));
  return [
    ...runs.map(({ record, age }) => ({
      id: record.id,
      how: `on ${printable(record.instance)} (${record.state}, heard of ${formatDuration(age)} ago)`,
    })),
    ...unverified.map(({ id, instance, why }) => ({
      id,
      how: printable(`may run on ${instance}: its record can't be verified, ${why}`),
    })),
  ];
}

/** Of runs whose fleet has no instance, those that it is to go on with. */
async function awaited({ store, keys }: RunsSession, runs: string[]): Promise<GoingOn[]> {
  const read = await Promise.all(runs.map((run) => (isRunId(run) ? readOrNobodys(store, keys, run) : null)));
  return runs
    .filter((_, n) => !read[n] || !isOver(read[n].record))
    .map((run) => ({ id: printable(run), how: 'waits for an instance of its fleet' }));
}

/** A fleet would replace what is taken from it: it goes first, with its run. */
async function endFleets(session: RunsSession, found: LivingInstance[]): Promise<void> {
  for (const { id, tags } of found) {
    const run = tags[FLEET_ID] === undefined ? undefined : tags[TAG.run];
    if (run === undefined) continue;
    session.reporter.line(`${id} is one of the fleet of ${printable(run)}, which is deleted.`);
    await cancelBetween(session, run);
  }
}

/** Those that live or are ending, once EC2 tells of what a killed launch has launched. */
async function allOwn(
  { aws, store, keys, reporter }: RunsSession,
  owner: Owner,
  description: Description,
  signal?: AbortSignal,
): Promise<LivingInstance[]> {
  const key = madeKey(owner, description);
  const journal = new LaunchJournal(store, keys, key);
  for (;;) {
    const [found, launch] = await Promise.all([ownInstances(aws, owner, signal, true), journal.read(signal)]);
    const waits =
      launch?.state && launch.age < SETTLED && (launch.state.instance ?? launch.state.n < launch.state.tries.length);
    if (!waits || found.some(({ tags }) => tags[TAG.key] === key)) {
      await cancelOpenRequests(aws, key, reporter);
      return found;
    }
    await pause(1_000, signal);
  }
}

async function theNamed(
  { aws, configuration }: RunsSession,
  owner: Owner,
  { stop, force, signal }: DownWishes,
): Promise<LivingInstance> {
  const { id } = await findInstance(aws, configuration.instance as NamedInstance);
  const found = (await lookAt(aws, id, signal))!;
  const managed = found.tags[TAG.managed] === 'true';
  if (!managed && !stop)
    throw new Problem('NOT_MADE', `${id} was not made by nx-ec2, which never terminates such an instance.`, {
      next: '--stop stops it.',
    });
  if (managed && !force && !isOwn(found.tags, owner)) {
    const { [TAG.owner]: whose = 'somebody', [TAG.project]: project = '' } = found.tags;
    throw new Problem('NOT_YOURS', `${id} was made for ${printable(whose)}, project ${printable(project)}.`, {
      next: 'Take it down all the same with --force.',
    });
  }
  return found;
}
