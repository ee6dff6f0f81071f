import type { NamedInstance } from '../../config/schema/instance-name';
import { namesSeveral } from '../../config/settings/instance-settings';
import { findAll, findInstance } from '../../instance/describe/find';
import { listOwnedFleets } from '../../instance/fleet/find-fleet';
import { describeInstance, type InstanceInfo } from '../../instance/describe/describe-instances';
import { FLEET_ID, projectOf, TAG, type Owner } from '../../instance/describe/ownership';
import { isRefusal, mismatch, refusal, type RequiredTags, type Waivable } from '../../instance/stop/required-tags';
import { managedFleets, managedInstance, userInstance } from '../../instance/stop/managed';
import { deleteUnusedGroups } from '../../instance/stop/unused-groups';
import { describeStopped, stopAndWait, type StopRequest } from '../../instance/stop/stop-and-wait';
import { deleteFleets } from '../../instance/stop/terminate';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatDuration } from '../../report/units';
import { requiredTags } from '../../context/required-tags';
import { isFinal } from '../fleet/wait-first-attempt';
import { instancesAfterLaunch, launchChanges } from './after-launch';
import { cancelBetweenInstances } from '../fleet/cancel-fleet';
import { tryReadRecord } from '../record/record';
import { runsOn } from '../find/runs-on-instance';
import { listActiveRuns } from '../find/active-runs';
import type { RunContext } from '../../context/types';
import { isRunId } from '../../schema/ids';
import { nxRun } from '../../report/shell-words';

export interface TakeDownOptions {
  /** Instead of being terminated, which takes the disk. */
  stop: boolean;
  /** Even where a run is active, or the instance is a colleague's. */
  force: boolean;
  signal?: AbortSignal;
}

const EVERYTHING: readonly Waivable[] = ['workspace', 'project', 'owner', 'store'];

/**
 * Terminates or stops the instances of a project that this caller launched, or the named one.
 * @returns their ids.
 * @throws Problem before anything is touched, where one must not be.
 */
export async function takeDownProject(context: RunContext, owner: Owner, options: TakeDownOptions): Promise<string[]> {
  const { instance } = context.configuration;
  const launchSpec = 'launchSpec' in instance ? instance.launchSpec : undefined;
  // With --force the instance that is named may be anybody's; of the project's, those of another store are meant too.
  const required = await requiredTags(context, !options.force ? [] : launchSpec ? ['store'] : EVERYTHING);
  if (!launchSpec) return takeDownFound(context, owner, await theNamed(context, options, required), required, options);
  const { own, changes } = await instancesAfterLaunch(context, owner, launchSpec, required, options.signal);
  const found = ofStore(context, own, required);
  const isShared = launchSpec.pool && !options.force;
  const unused = isShared ? await unusedMembers(context, found, options) : found;
  const isAllKept = found.length > 0 && !unused.length;
  const ended = isAllKept ? [] : await takeDownFound(context, owner, unused, required, options);
  if (context.configuration.train.nodes > 1 && !options.stop) await deleteGroups(context, required, options);
  if (changes !== null) throw launchChanges(context.project, changes, ended, options.stop);
  return ended;
}

/** The members of a pool that nothing uses: the others may be in use by other projects, and are named. */
async function unusedMembers(
  context: RunContext,
  found: InstanceInfo[],
  { signal }: TakeDownOptions,
): Promise<InstanceInfo[]> {
  const unused: InstanceInfo[] = [];
  for (const each of found) {
    const runs = each.state === 'running' ? await runsOn(context, each.id, signal) : [];
    const use =
      each.state === 'pending'
        ? 'it is starting'
        : runs === 'silent'
          ? 'it does not report its activity'
          : runs.length > 0 && `${runs.join(', ')} is active on it`;
    if (use) context.printer.line(sanitizeForTerminal(`${each.id} is kept: ${use}. To end it too, add --force.`));
    else unused.push(each);
  }
  return unused;
}

/** Deletes the placement groups of the project's launches, whose instances are terminated. */
async function deleteGroups(
  { aws, printer }: RunContext,
  required: RequiredTags,
  { signal }: TakeDownOptions,
): Promise<void> {
  const deleted = await deleteUnusedGroups(aws, required, { signal });
  if (deleted.length) printer.line(`Deleted the placement group ${deleted.join(', ')}.`);
}

async function takeDownFound(
  context: RunContext,
  owner: Owner,
  found: InstanceInfo[],
  required: RequiredTags,
  options: TakeDownOptions,
): Promise<string[]> {
  const { aws, printer, configuration, project } = context;
  const { stop, force, signal } = options;
  const isLaunched = 'launchSpec' in configuration.instance;
  const all = isLaunched ? await listOwnedFleets(aws, owner, signal) : [];
  const waiting = all.filter((run) => !found.some(({ tags }) => tags[TAG.run] === run));
  if (!found.length && !waiting.length) {
    printer.line(
      `${sanitizeForTerminal(project)} has no instance to terminate or stop${await describeSearch(context, required)}.`,
    );
    return [];
  }
  const spot = found.find(({ market }) => market === 'spot');
  if (stop && spot)
    throw new Problem('SPOT_NOT_STOPPABLE', `${spot.id} is a spot instance: it can only be terminated.`, {
      next: 'Leave out --stop. Its disk is deleted with it; the store keeps what runs have saved.',
    });
  const running = found.filter(({ state }) => state === 'running' || state === 'pending').map(({ id }) => id);
  if (stop && waiting.length)
    throw new Problem(
      'SPOT_NOT_STOPPABLE',
      `The fleet of ${sanitizeForTerminal(waiting[0])} has no instance at the moment: it can only be deleted.`,
      {
        next: 'Leave out --stop. The store keeps what runs have saved.',
      },
    );
  const runs = force ? [] : [...(await underWay(context, running)), ...(await awaiting(context, waiting))];
  if (runs.length) {
    const lines = runs.map(({ id, how }) => `  ${sanitizeForTerminal(id)} ${how}`);
    throw new Problem('RUN_ACTIVE', `A run is still active:\n${lines.join('\n')}`, {
      next: `To take the instance down anyway, add --force. To stop the run: ${nxRun(project, 'remote-cancel', `--run=${runs[0].id}`)}`,
    });
  }
  if (!force) await assertNoOtherRuns(context, found, options);
  const downs = await Promise.all(found.map((each) => check(context, each, required, options)));
  const failed = await endFleets(context, found, required);
  // Its fleet would replace it.
  const isLeft = (n: number) => failed.has(found[n].id);
  for (const run of waiting) await endWaiting(context, run).catch((error: unknown) => failed.set(run, error));
  const ended = await Promise.allSettled(
    downs.map((down, n) => {
      if (isLeft(n))
        return printer.warn(`${found[n].id} was not touched: its fleet could not be deleted and would replace it.`);
      return down ? stopAndWait(aws, down, printer, signal) : printer.line(`${found[n].id} is terminated.`);
    }),
  );
  const errors = [
    ...failed.values(),
    ...ended.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : [])),
  ];
  for (const error of errors.slice(1)) printer.warn((error as Error).message);
  if (errors.length) throw errors[0];
  if (stop) for (const { id } of found) printer.line(`${id}: ${await describeStopped(aws, id)}`);
  return found.map(({ id }) => id);
}

/** What was looked for in vain; nothing where the configuration names an instance. */
async function describeSearch({ aws, configuration }: RunContext, required: RequiredTags): Promise<string> {
  const { instance } = configuration;
  if (!('launchSpec' in instance)) return '';
  const { pool } = instance.launchSpec;
  const { owner, store, waived = [] } = required;
  const tags = {
    [TAG.project]: projectOf(owner),
    [TAG.workspace]: owner.workspace,
    [TAG.owner]: owner.caller,
    ...(waived.includes('store') ? {} : { [TAG.store]: store }),
  };
  const words = Object.entries(tags).map(([tag, value]) => `${tag}=${sanitizeForTerminal(value)}`);
  return `: EC2 lists ${pool ? `no member of the pool ${pool.name}` : 'none'} in ${await aws.region()} (${words.join(', ')})`;
}

interface GoingOn {
  id: string;
  how: string;
}

/** The runs that are active on these instances, as far as the store tells. */
async function underWay({ store, keys }: RunContext, instances: string[]): Promise<GoingOn[]> {
  const { runs, unverified } = await listActiveRuns(store, keys, new Set(instances));
  return [
    ...runs.map(({ record, age }) => ({
      id: record.id,
      how: `on ${sanitizeForTerminal(record.instance)} (${record.state}, last heartbeat ${formatDuration(age)} ago)`,
    })),
    ...unverified.map(({ id, instance, why }) => ({
      id,
      how: sanitizeForTerminal(`may run on ${instance}: its record can't be verified, ${why}`),
    })),
  ];
}

/**
 * Asks the instances what runs there: of other projects, workspaces and stores this project's records say nothing, and
 * anybody who can write to the bucket could hide a run or delete its record. An instance that Systems Manager does not
 * reach is stopped, since that is a reason to stop it; one that is reached and does not answer only with --force.
 */
async function assertNoOtherRuns(
  context: RunContext,
  found: InstanceInfo[],
  { stop, signal }: TakeDownOptions,
): Promise<void> {
  for (const { id, state } of found) {
    const runs = state === 'running' ? await runsOn(context, id, signal) : [];
    if (!runs.length) continue;
    const what =
      runs === 'silent'
        ? `${id} did not report whether a run is active on it.`
        : `${id} reports active runs: ${sanitizeForTerminal(runs.join(', '))}.`;
    const command = nxRun(context.project, 'remote-down', ...(stop ? ['--stop'] : []), '--force');
    throw new Problem('RUN_ACTIVE', what, {
      next: `${runs === 'silent' ? 'Try again in a minute' : 'Wait until they have ended'}. To take the instance down anyway: ${command}`,
    });
  }
}

/** Of runs whose fleet has no instance, those that the fleet is to resume. */
async function awaiting({ store, keys }: RunContext, runs: string[]): Promise<GoingOn[]> {
  const read = await Promise.all(runs.map((run) => (isRunId(run) ? tryReadRecord(store, keys, run) : null)));
  return runs
    .map((run, n) => ({
      id: run,
      // Its launch may have just begun; or the tag of the fleet was changed.
      how: read[n] ? 'waits for an instance of its fleet' : 'has a fleet, and neither an instance nor a record here',
    }))
    .filter((_, n) => !read[n] || !isFinal(read[n].record));
}

/** Passes an instance through the gate; null where it is gone by now. */
async function check(
  { aws, configuration }: RunContext,
  { id, tags }: InstanceInfo,
  required: RequiredTags,
  { stop, signal }: TakeDownOptions,
): Promise<StopRequest | null> {
  // The user's own instance, which the configuration names: that it is stopped, is the user's word.
  if (tags[TAG.managed] !== 'true' && stop && !('launchSpec' in configuration.instance))
    return { instance: await userInstance(aws, { id }, signal), how: 'stop' };
  const instance = await managedInstance(aws, id, required, { signal });
  return instance && { instance, how: stop ? 'stop' : 'terminate' };
}

/**
 * Deletes the fleets of instances, each with its run: a fleet would replace an instance that is taken from it. One that
 * can't be deleted keeps no other from it.
 * @returns by the instance's id, why its fleet was not deleted.
 */
async function endFleets(
  context: RunContext,
  found: InstanceInfo[],
  required: RequiredTags,
): Promise<Map<string, unknown>> {
  const failed = new Map<string, unknown>();
  for (const instance of found)
    await endFleetOf(context, instance, required).catch((error: unknown) => failed.set(instance.id, error));
  return failed;
}

async function endFleetOf(context: RunContext, { id, tags }: InstanceInfo, required: RequiredTags): Promise<void> {
  const { aws, printer } = context;
  if (tags[FLEET_ID] === undefined || tags[TAG.managed] !== 'true') return;
  printer.line(`${id} belongs to the fleet of ${sanitizeForTerminal(tags[TAG.run] ?? '?')}, which is deleted first.`);
  if (mismatch(tags, { ...required, waived: [] }) === null) await endWaiting(context, tags[TAG.run] ?? '');
  // The fleet that EC2 says the instance is of, whatever other tags say: a colleague's, by --force, or one without a run.
  const { fleets, refused } = await managedFleets(aws, [tags[FLEET_ID]], required);
  if (refused.length) throw refused[0];
  await deleteFleets(aws, fleets);
}

/** Deletes the fleet of a run. One without the required tags is named, and keeps nothing else from being ended. */
async function endWaiting(context: RunContext, run: string): Promise<void> {
  const { printer } = context;
  try {
    if (await cancelBetweenInstances(context, run, false))
      printer.line(`The fleet of ${sanitizeForTerminal(run)} is deleted.`);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    printer.warn(error.message);
  }
}

/** Those that were launched for the configured store; the others are named, unless --force means them too. */
function ofStore({ printer }: RunContext, found: InstanceInfo[], required: RequiredTags): InstanceInfo[] {
  return found.filter(({ id, tags }) => {
    if (mismatch(tags, required)?.tag !== 'store') return true;
    printer.warn(
      `${id} was not touched: it was launched for the store ${sanitizeForTerminal(tags[TAG.store] ?? '?')}. To terminate it too, add --force.`,
    );
    return false;
  });
}

async function theNamed(
  { aws, configuration }: RunContext,
  { stop, force, signal }: TakeDownOptions,
  required: RequiredTags,
): Promise<InstanceInfo[]> {
  const { instance, instances } = configuration;
  const all = namesSeveral(instances)
    ? await findAll(aws, instances as NamedInstance[])
    : [await findInstance(aws, instance as NamedInstance)];
  const found = await Promise.all(all.map(async ({ id }) => (await describeInstance(aws, id, signal))!));
  for (const { id, tags } of found) {
    const managed = tags[TAG.managed] === 'true';
    if (!managed && !stop)
      throw new Problem('NOT_MANAGED', `${id} was not launched by nx-ec2, so nx-ec2 does not terminate it.`, {
        next: 'To stop it, add --stop.',
      });
    if (managed && !force && mismatch(tags, required))
      throw refusal(`The instance ${id}`, tags, required, 'To take it down anyway, add --force.');
  }
  return found;
}
