import type { LaunchSpec } from '../../config/schema/launch-spec';
import type { EnsuredInstance } from '../../instance/launch/ensure-instance';
import { ensureReady } from '../../instance/launch/ensure-ready';
import { isAlive, describeInstance, type InstanceInfo } from '../../instance/describe/describe-instances';
import { TAG } from '../../instance/describe/ownership';
import { launchKeys } from '../../instance/pool/members';
import { isRefusal } from '../../instance/stop/required-tags';
import { managedInstance, NEW_INSTANCE_LAG_MS } from '../../instance/stop/managed';
import { isResourceId } from '../../instance/stop/resource-id';
import { stopAndWait } from '../../instance/stop/stop-and-wait';
import { keptAfter } from '../../instance/describe/kept-after';
import { deleteUnusedGroups } from '../../instance/stop/unused-groups';
import { readTags } from '../../instance/describe/tags';
import { Waiting } from '../../instance/describe/wait-message';
import { sleep } from '../../system/sleep';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatDuration } from '../../report/units';
import { pollRun } from '../follow/poll-instance';
import { requiredRunTags, requiredTags } from '../../context/required-tags';
import { isKnownActive } from '../find/find-run';
import { isAllSaved } from '../record/all-saved';
import { lookAtNodes, waitForOtherNodes } from '../record/node-records';
import { readNodeRecord, readRecord, type RunRecord } from '../record/record';
import { runsOn } from '../find/runs-on-instance';
import { listActiveRuns } from '../find/active-runs';
import { steadyNow } from '../../system/moment';
import type { RunContext } from '../../context/types';
import type { EnsureOptions } from '../../instance/launch/options';
import { nxRun } from '../../report/shell-words';

/** How long an instance may take to end itself after its run, ms, before it is ended from here. */
export const SHUTDOWN = { timeout: 120_000 };
const SHUTDOWN_POLL_MS = 1_000;

/**
 * Brings up the instances that a project describes, one or those of `count`, and waits until they can be used.
 * @param purpose what they are for. @param onUp as soon as EC2 has them.
 */
export async function ensureProjectInstances(
  context: RunContext,
  launchSpec: LaunchSpec,
  purpose: Pick<EnsureOptions, 'by' | 'run' | 'deadline' | 'count' | 'min' | 'prefer' | 'slot'>,
  signal: AbortSignal,
  onUp?: (instances: EnsuredInstance[]) => void,
): Promise<EnsuredInstance[]> {
  const { aws, store, printer, configuration } = context;
  const owner = await context.owner();
  const keys = launchKeys(context.keys, owner);
  const { prefix, pricePerHour, remoteRoot: root, instance } = configuration;
  const options = { aws, store, keys, prefix, pricePerHour, root, printer, signal, launchSpec, ...purpose };
  const isUnused = (id: string) => isIdle(context, id, signal);
  return ensureReady({ ...options, isIdle: isUnused, owner }, instance.startupTimeout, onUp);
}

/** Whether an instance says that nothing runs on it. One that Systems Manager does not reach is taken for idle. */
export async function isIdle(context: RunContext, id: string, signal: AbortSignal): Promise<boolean> {
  const runs = await runsOn(context, id, signal);
  return runs !== 'silent' && runs.length === 0;
}

/**
 * Launches the instances that a run is to train on, all or none, or finds those that were launched, and waits until all
 * can be used. If one can't be, those that this call has launched are terminated.
 * @param count how many; absent: one. @param min the fewest that are enough; absent: all. @param onUp as soon as EC2 has them.
 * @returns them in the order of their launch.
 */
export async function launchForRun(
  context: RunContext,
  launchSpec: LaunchSpec,
  { id, ...more }: { id: string } & Pick<EnsureOptions, 'deadline' | 'count' | 'min' | 'prefer'>,
  onUp: (instances: EnsuredInstance[]) => void,
  signal: AbortSignal,
): Promise<EnsuredInstance[]> {
  const purpose = { by: 'remote-train', run: id, ...more } as const;
  // By id: what an earlier round launched, and a later one finds, is this call's as well.
  const launched = new Map<string, EnsuredInstance>();
  const up = (instances: EnsuredInstance[]) => {
    for (const each of instances) if (each.how === 'launched') launched.set(each.id, each);
    onUp(instances);
  };
  try {
    return await ensureProjectInstances(context, launchSpec, purpose, signal, up);
  } catch (error) {
    await terminateUnused(context, [...launched.values()], id, signal);
    throw error;
  }
}

/** An instance that a command has found, and that has ended since, for example by a shutdown rule; null: none. */
export async function findEnded(
  { aws }: RunContext,
  instances: readonly EnsuredInstance[],
  signal: AbortSignal,
): Promise<string | null> {
  for (const { id } of instances.filter(({ how }) => how === 'found')) {
    const now = await describeInstance(aws, id, signal);
    if (!now || !isAlive(now)) return id;
  }
  return null;
}

/**
 * Terminates those instances that this command launched for a training which can't begin; after a signal they are left:
 * their shutdown rules end them. One that another command launched meanwhile, for another run, is left.
 */
export async function terminateUnused(
  context: RunContext,
  instances: readonly EnsuredInstance[],
  run: string,
  signal: AbortSignal,
  why = 'which failed to start',
): Promise<void> {
  if (signal.aborted) return;
  const launched = instances.filter(({ how }) => how === 'launched');
  await Promise.all(launched.map(({ id }) => terminateUnusedOne(context, id, run, signal, why)));
  if (launched.length > 1) await deleteUnusedGroups(context.aws, await requiredRunTags(context, run), { signal });
}

async function terminateUnusedOne(
  context: RunContext,
  id: string,
  run: string,
  signal: AbortSignal,
  why: string,
): Promise<void> {
  const { aws, printer } = context;
  try {
    const managed = await managedInstance(aws, id, await requiredRunTags(context, run), {
      unseen: NEW_INSTANCE_LAG_MS,
    });
    if (!managed) return;
    // Another command of the project may have started a run on it.
    if (!(await isIdle(context, id, signal)))
      return printer.warn(
        `${id} was launched for this training, ${why}. It is kept: it is in use, or does not report its activity.`,
      );
    printer.line(`Terminating ${id}: it was launched for this training, ${why}.`);
    await stopAndWait(aws, { instance: managed, how: 'terminate' }, printer);
  } catch (error) {
    printer.warn(`${id} could not be terminated: ${(error as Error).message}`);
  }
}

/**
 * Reports what happens to a run's instances if they were launched for a training, and waits if that is soon. They shut
 * themselves down. One that does not is terminated from here, provided that EC2 says that it was launched for this very
 * run, and that the instance itself does not report the run as active: the record, which names it, is not enough.
 * @param own the instances that this command itself brought up for the run, whatever run they were launched for.
 */
export async function waitForShutdown(
  context: RunContext,
  run: RunRecord,
  own: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  // They save what they wrote before they end.
  await waitForOtherNodes(context, run, signal);
  const nodes =
    run.nodes.length > 0 ? run.nodes.map(({ instance }) => instance) : own.length > 1 ? own : [run.instance];
  const others = await lookAtNodes(context, run.id, run.nodes.length);
  for (const [rank, instance] of nodes.entries()) {
    const { artifacts } = rank === 0 ? run : (others[rank - 1]?.record ?? { artifacts: null });
    await waitForOne(context, { ...run, instance, artifacts }, own.includes(instance), signal);
  }
  if (nodes.length > 1) await deleteUnusedGroups(context.aws, await requiredRunTags(context, run.id), { signal });
}

/** Says of each instance of a run that has ended whether it is kept, and for how long. */
export async function reportKept(context: RunContext, run: RunRecord, signal: AbortSignal): Promise<void> {
  const instances = run.nodes.length > 0 ? run.nodes.map(({ instance }) => instance) : [run.instance];
  for (const instance of instances) {
    try {
      const kept = await describeKept(context, { ...run, instance }, signal);
      if (kept?.line) context.printer.line(kept.line);
    } catch (error) {
      context.printer.detail(`It is not known how long ${instance} is kept: ${(error as Error).message}`);
    }
  }
}

/** What a managed instance does after a run: `line` says it if it is kept. null: it is gone, not managed, or serves another run. */
async function describeKept(
  context: RunContext,
  run: RunRecord,
  signal: AbortSignal,
): Promise<{ id: string; how: 'terminate' | 'stop'; done: string; line: string | null } | null> {
  const { aws, printer } = context;
  if (!isResourceId('instance', run.instance)) return null;
  const instance = await describeInstance(aws, run.instance, signal);
  if (instance && !isAlive(instance) && run.nodes.length > 1) printer.line(`${instance.id} is ${instance.state}.`);
  if (!instance || !isAlive(instance) || instance.tags[TAG.managed] !== 'true') return null;
  const { finish } = readTags(instance.tags);
  if (!finish || (await wasStartedSince(context, run, instance))) return null;
  const { id } = instance;
  const how = finish.shutdown;
  const done = how === 'stop' ? 'stopped' : 'terminated';
  const allSaved = isAllSaved(run);
  const after = keptAfter(finish, run.outcome === 'succeeded', allSaved);
  if (after === 0) return { id, how, done, line: null };
  const down = `To terminate it now: ${nxRun(context.project, 'remote-down')}`;
  const why = allSaved ? '' : ', because it has files that could not be saved';
  const until =
    after === null
      ? `${why}: it shuts itself down at its idle timeout or maximum lifetime`
      : `${await keptUntil(context, run, after)}${why}, and then ${done}`;
  return { id, how, done, line: `${id} is kept${until}. ${down}` };
}

async function waitForOne(context: RunContext, run: RunRecord, own: boolean, signal: AbortSignal): Promise<void> {
  const { aws, printer } = context;
  const kept = await describeKept(context, run, signal);
  if (!kept) return;
  const { id, how, done, line } = kept;
  if (line) return printer.line(line);
  const waiting = new Waiting(printer, `${id} is being ${done}`);
  try {
    for (const until = steadyNow() + SHUTDOWN.timeout; steadyNow() < until; await sleep(SHUTDOWN_POLL_MS, signal)) {
      const now = await describeInstance(aws, id, signal);
      if (!now || !isAlive(now) || now.state === 'stopped') return printer.line(`${id} is ${now?.state ?? done}.`);
      const other = now.state === 'running' ? await otherRun(context, run) : null;
      if (other) return printer.line(`${id} is kept while ${other} is active on it.`);
    }
  } finally {
    waiting.end();
  }
  await shutDown(context, run, own, how, signal);
}

/** For how long an instance is kept after a run, and until when, by this machine's time zone and S3's clock. */
async function keptUntil({ store, keys }: RunContext, run: RunRecord, after: number): Promise<string> {
  const read = await readNodeRecord(
    store,
    keys,
    run.id,
    Math.max(
      0,
      run.nodes.findIndex(({ instance }) => instance === run.instance),
    ),
  ).catch(() => null);
  const until = read && new Date(read.written + after);
  return ` for ${formatDuration(after)}${until ? `, until ${until.toTimeString().slice(0, 5)}` : ''}`;
}

/**
 * Whether an instance was started again after the end of a run: then it serves something else. AWS's clocks decide, by
 * when the record was last written: the instance's own clock, of which `endedAt` is, may be behind.
 */
async function wasStartedSince(
  { store, keys }: RunContext,
  run: RunRecord,
  { launchedAt }: Pick<InstanceInfo, 'launchedAt'>,
): Promise<boolean> {
  if (run.endedAt === null || launchedAt <= run.endedAt) return false;
  const read = await readRecord(store, keys, run.id).catch(() => null);
  return !read || launchedAt > read.written;
}

/** Terminates, or stops, the instance of a run that has not shut itself down. */
async function shutDown(
  context: RunContext,
  run: RunRecord,
  own: boolean,
  how: 'terminate' | 'stop',
  signal: AbortSignal,
): Promise<void> {
  const { aws, printer } = context;
  const { instance: id } = run;
  try {
    // The caller's own is terminated whichever store it was launched for: this command has brought it up for the run.
    const required = own ? await requiredTags(context, ['store']) : await requiredRunTags(context, run.id);
    const instance = await managedInstance(aws, id, required, { signal });
    if (!instance) return;
    if (await saysThatItGoesOn(context, run, signal)) {
      printer.warn(
        `${id} was not touched: ${run.id} has ended according to the store, but is active according to the instance.`,
      );
      return;
    }
    // Anybody who writes to the bucket could hide another run from the store.
    const active = await runsOn(context, id, signal);
    if (active === 'silent') {
      printer.warn(
        `${id} did not shut down within ${formatDuration(SHUTDOWN.timeout)}, and does not report whether another run is active on it. It was not touched, and costs money until it ends by its shutdown rules.\nTo ${how} it now: ${nxRun(context.project, 'remote-down', '--force')}`,
      );
      return;
    }
    const others = active.filter((other) => other !== run.id);
    if (others.length) return printer.line(`${id} is kept while ${sanitizeForTerminal(others[0])} is active on it.`);
    printer.warn(
      `${id} did not shut down within ${formatDuration(SHUTDOWN.timeout)}; ${how === 'stop' ? 'stopping' : 'terminating'} it.`,
    );
    await stopAndWait(aws, { instance, how }, printer, signal);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    printer.warn(`${id} did not shut down within ${formatDuration(SHUTDOWN.timeout)}. ${error.message}`);
  }
}

/** Whether the instance itself says that a run is active. One that does not answer says nothing. */
async function saysThatItGoesOn(context: RunContext, run: RunRecord, signal: AbortSignal): Promise<boolean> {
  try {
    return (await pollRun(context, run, run.log.size, signal)).run.outcome === null;
  } catch (error) {
    signal.throwIfAborted();
    context.printer.detail(`${run.instance} does not answer: ${(error as Error).message}`);
    return false;
  }
}

/** Another active run of the project on the same instance. */
async function otherRun({ store, keys }: RunContext, { id, instance }: RunRecord): Promise<string | null> {
  const { runs, unverified } = await listActiveRuns(store, keys, new Set([instance]));
  const others = [...runs.filter(isKnownActive).map(({ record }) => record.id), ...unverified.map((each) => each.id)];
  return others.find((each) => each !== id) ?? null;
}
