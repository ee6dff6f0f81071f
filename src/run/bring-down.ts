import type { Description } from '../config/description';
import type { NamedInstance } from '../config/instance-name';
import { pause } from '../command/run-command';
import { findInstance } from '../instance/find';
import { ownFleets } from '../instance/find-fleet';
import { LaunchJournal } from '../instance/launch-journal';
import { isOwn, lookAt, ownInstances, type LivingInstance } from '../instance/living';
import { FLEET_ID, madeKey, TAG, type Owner } from '../instance/made';
import { mismatch, refusal, type Claim, type Waivable } from '../instance/stop/claim';
import { managedFleets, managedInstance, userInstance } from '../instance/stop/managed';
import { describeStopped, takeDown, type TakeDown } from '../instance/stop/stop-and-wait';
import { cancelOpenRequests, deleteFleets } from '../instance/stop/terminate';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { formatDuration } from '../report/units';
import { sessionClaim } from './claim';
import { isOver } from './fleet/await-attempt';
import { cancelBetween } from './fleet/cancel-fleet';
import { isRunId, readOrNobodys } from './record';
import { runsOn } from './runs-on';
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
const EVERYTHING: readonly Waivable[] = ['workspace', 'project', 'owner', 'store'];

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
  // With --force the instance that is named may be anybody's; of the project's, those of another store are meant too.
  const claim = await sessionClaim(session, !force ? [] : described ? ['store'] : EVERYTHING);
  const found = described
    ? ofStore(session, await allOwn(session, owner, described, claim, signal), claim)
    : [await theNamed(session, wishes, claim)];
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
  const { goingOn, isCertain } = force ? { goingOn: [], isCertain: true } : await underWay(session, running);
  const runs = [...goingOn, ...(force ? [] : await awaited(session, waiting))];
  if (runs.length) {
    const lines = runs.map(({ id, how }) => `  ${id} ${how}`);
    throw new Problem('RUN_UNDER_WAY', `A run goes on there:\n${lines.join('\n')}`, {
      next: `Stop it (nx run ${printable(project)}:remote-cancel --run=${runs[0].id}), or take it down all the same with --force.`,
    });
  }
  if (!force) await refuseOthersRuns(session, found, isCertain, wishes);
  const downs = await Promise.all(found.map((each) => check(session, each, claim, wishes)));
  await endFleets(session, found, claim);
  for (const run of waiting)
    if (await cancelBetween(session, run, false)) reporter.line(`The fleet of ${printable(run)} is deleted.`);
  const ended = await Promise.allSettled(
    downs.map((down, n) =>
      down ? takeDown(aws, down, reporter, signal) : reporter.line(`${found[n].id} is terminated.`),
    ),
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

async function underWay(
  { store, keys }: RunsSession,
  instances: string[],
): Promise<{ goingOn: GoingOn[]; isCertain: boolean }> {
  const { runs, unverified, isCertain } = await runsUnderWay(store, keys, new Set(instances));
  const goingOn = [
    ...runs.map(({ record, age }) => ({
      id: record.id,
      how: `on ${printable(record.instance)} (${record.state}, heard of ${formatDuration(age)} ago)`,
    })),
    ...unverified.map(({ id, instance, why }) => ({
      id,
      how: printable(`may run on ${instance}: its record can't be verified, ${why}`),
    })),
  ];
  return { goingOn, isCertain };
}

/**
 * Asks an instance that nx-ec2 did not launch what runs there: other projects, workspaces and stores may use it, of which
 * this project's records say nothing. So is every instance where the store can't tell, since anybody who writes there
 * could hide a run. One that does not answer is stopped, since that is a reason to stop it.
 */
async function refuseOthersRuns(
  session: RunsSession,
  found: LivingInstance[],
  isCertain: boolean,
  { stop, signal }: DownWishes,
): Promise<void> {
  const asked = found.filter(({ tags, state }) => state === 'running' && (!isCertain || tags[TAG.managed] !== 'true'));
  for (const { id } of asked) {
    const runs = await runsOn(session, id, signal);
    if (!runs.length) continue;
    const command = `nx run ${printable(session.project)}:remote-down${stop ? ' --stop' : ''} --force`;
    throw new Problem('RUN_UNDER_WAY', `${id} says that something runs there: ${printable(runs.join(', '))}.`, {
      next: `Wait until it has ended, or take the instance down all the same: ${command}`,
    });
  }
}

/** Of runs whose fleet has no instance, those that it is to go on with. */
async function awaited({ store, keys }: RunsSession, runs: string[]): Promise<GoingOn[]> {
  const read = await Promise.all(runs.map((run) => (isRunId(run) ? readOrNobodys(store, keys, run) : null)));
  return runs
    .filter((_, n) => !read[n] || !isOver(read[n].record))
    .map((run) => ({ id: printable(run), how: 'waits for an instance of its fleet' }));
}

/** Passes an instance through the gate; null where it is gone by now. */
async function check(
  { aws, configuration }: RunsSession,
  { id, tags }: LivingInstance,
  claim: Claim,
  { stop, signal }: DownWishes,
): Promise<TakeDown | null> {
  // The user's own instance, which the configuration names: that it is stopped, is the user's word.
  if (tags[TAG.managed] !== 'true' && stop && !('described' in configuration.instance))
    return { instance: await userInstance(aws, { id }, signal), how: 'stop' };
  const instance = await managedInstance(aws, id, claim, { signal });
  return instance && { instance, how: stop ? 'stop' : 'terminate' };
}

/** A fleet would replace an instance that is taken from it: it goes first, with its run. */
async function endFleets(session: RunsSession, found: LivingInstance[], claim: Claim): Promise<void> {
  const { aws, reporter } = session;
  const strict = { ...claim, waived: [] };
  for (const { id, tags } of found) {
    if (tags[FLEET_ID] === undefined || tags[TAG.managed] !== 'true') continue;
    reporter.line(`${id} is one of the fleet of ${printable(tags[TAG.run] ?? '?')}, which is deleted.`);
    if (mismatch(tags, strict) === null && (await cancelBetween(session, tags[TAG.run] ?? '', false))) continue;
    // A colleague's, by --force: the fleet that EC2 says the instance is of, whatever other tags say.
    const { fleets, refused } = await managedFleets(aws, [tags[FLEET_ID]], claim);
    if (refused.length) throw refused[0];
    await deleteFleets(aws, fleets);
  }
}

/** Those that were launched for the configured store; the others are named, unless --force means them too. */
function ofStore({ reporter }: RunsSession, found: LivingInstance[], claim: Claim): LivingInstance[] {
  return found.filter(({ id, tags }) => {
    if (mismatch(tags, claim)?.tag !== 'store') return true;
    reporter.warn(
      `${id} was left as it is: it was launched for the store ${printable(tags[TAG.store] ?? '?')}. --force terminates it too.`,
    );
    return false;
  });
}

/** Those that live or are ending, once EC2 tells of what a killed launch has launched. */
async function allOwn(
  { aws, store, keys, reporter }: RunsSession,
  owner: Owner,
  description: Description,
  claim: Claim,
  signal?: AbortSignal,
): Promise<LivingInstance[]> {
  const key = madeKey(owner, description);
  const journal = new LaunchJournal(store, keys, key);
  for (;;) {
    const [found, launch] = await Promise.all([ownInstances(aws, owner, signal, true), journal.read(signal)]);
    const waits =
      launch?.state && launch.age < SETTLED && (launch.state.instance ?? launch.state.n < launch.state.tries.length);
    if (!waits || found.some(({ tags }) => tags[TAG.key] === key)) {
      await cancelOpenRequests(aws, key, claim, reporter);
      return found;
    }
    await pause(1_000, signal);
  }
}

async function theNamed(
  { aws, configuration }: RunsSession,
  { stop, force, signal }: DownWishes,
  claim: Claim,
): Promise<LivingInstance> {
  const { id } = await findInstance(aws, configuration.instance as NamedInstance);
  const found = (await lookAt(aws, id, signal))!;
  const managed = found.tags[TAG.managed] === 'true';
  if (!managed && !stop)
    throw new Problem('NOT_MADE', `${id} was not made by nx-ec2, which never terminates such an instance.`, {
      next: '--stop stops it.',
    });
  if (managed && !force && mismatch(found.tags, claim)) {
    const { [TAG.owner]: whose = 'somebody', [TAG.project]: project = '' } = found.tags;
    if (isOwn(found.tags, claim.owner)) throw refusal(`The instance ${id}`, mismatch(found.tags, claim)!, claim);
    throw new Problem('NOT_YOURS', `${id} was made for ${printable(whose)}, project ${printable(project)}.`, {
      next: 'Take it down all the same with --force.',
    });
  }
  return found;
}
