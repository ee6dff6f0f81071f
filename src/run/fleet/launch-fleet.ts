import { awsCode } from '../../aws/reason';
import type { RunPart } from '../../command/plan';
import type { Description } from '../../config/description';
import { findFleet } from '../../instance/find-fleet';
import { makeFleet, makeTemplate, templateName, type FleetWish } from '../../instance/fleet';
import type { Owner } from '../../instance/made';
import { deleteFleet } from '../../instance/stop/delete-fleet';
import { Problem } from '../../report/problem';
import { formatCount, formatDuration, formatSize } from '../../report/units';
import { deposit } from '../../sync/deposit';
import { treeId } from '../../workspace/identity';
import { storeBoot } from '../boot-object';
import { runClaim } from '../claim';
import { describeLeftOut, warnLarge } from '../describe-files';
import { claimTraining, disclaimTraining, lastOf, rememberTraining, type LastRun } from '../find-run';
import type { Launched } from '../launch';
import { scanProject, type Scanned, type Workspace } from '../scan-project';
import { openContents, type RunsSession } from '../session';
import type { PlannedRun } from '../training';
import { awaitFirst } from './await-attempt';
import { lastWhenSettled, whatThereIs, type Begun } from './find-begun';
import { fleetWish, lookUpGround, type Ground } from './fleet-wish';

export interface FleetOptions {
  signal: AbortSignal;
  scanned: Scanned;
  rerun: boolean;
  /** ms that the fleet may take until the run has begun. */
  wait: number;
  /** Called when the fleet is made, and goes on whatever becomes of this side. */
  onMade: (run: string) => void;
}

/**
 * Starts a training that a fleet goes on with, or finds the one that is the same. Returns when its first attempt has
 * begun. Whoever is killed on the way, and begins again, goes on with what there is.
 */
export async function launchFleet(
  session: RunsSession,
  description: Description,
  workspace: Workspace,
  planned: PlannedRun,
  options: FleetOptions,
): Promise<Launched> {
  const key = planned.key(options.scanned.snapshot);
  try {
    return await launchOrFind(session, description, workspace, planned, key, options);
  } catch (error) {
    const left = await findFleet(session.aws, planned.id).catch(() => null);
    if (left && !left.fleets.length && !left.template) await disclaimTraining(session, key, planned.id);
    throw error;
  }
}

async function launchOrFind(
  session: RunsSession,
  description: Description,
  workspace: Workspace,
  planned: PlannedRun,
  key: string,
  options: FleetOptions,
): Promise<Launched> {
  const { signal, rerun, wait } = options;
  const owner = await session.owner();
  let ground: Ground | undefined;
  let begun: Begun | null = null;
  let made: { run: string; fleet: string } | null = null;
  while (!made) {
    const last = rerun ? null : await lastWhenSettled(session, key, signal);
    const there = last && (await whatThereIs(session, key, last));
    if (there && 'run' in there) return { ...there, settled: Promise.resolve() };
    begun = there;
    ground ??= await lookUpGround(session, description, owner, signal);
    made = begun
      ? {
          run: begun.id,
          fleet: begun.fleet ?? (await make(session, fleetWish(session, ground, begun.id, null), signal)),
        }
      : await start(session, ground, owner, workspace, planned, last, options);
  }
  options.onMade(made.run);
  session.reporter.line(
    `The fleet ${made.fleet} ${begun ? 'was made before' : 'is made'}: it runs ${made.run} with nobody there, and is gone ${formatDuration(fleetWish(session, ground!, made.run, null).deadline - Date.now())} from now at the latest.`,
  );
  const record = await awaitFirst(session, made.run, made.fleet, wait, signal);
  if (record.failure?.code === 'RECOVERY_REFUSED') {
    await deleteFleet(session.aws, await runClaim(session, made.run));
    throw new Problem('RECOVERY_REFUSED', record.failure.message, {
      next: 'The fleet is deleted. nx g nx-ec2:aws-setup has the role; "recovery": "client" needs no such right.',
    });
  }
  const attached = begun ? ('running' as const) : false;
  return { run: record, attached, settled: rememberTraining(session, record.key, record.id) };
}

/**
 * Everything into the store, then the template, then the fleet.
 * @param last the training's; null: another run of it is wanted in any case.
 * @returns null where another client has begun meanwhile.
 */
async function start(
  session: RunsSession,
  ground: Ground,
  owner: Owner,
  workspace: Workspace,
  planned: PlannedRun,
  last: LastRun | null,
  { signal, scanned }: FleetOptions,
): Promise<{ run: string; fleet: string } | null> {
  const { reporter, configuration, store, keys, workspaceRoot } = session;
  describeLeftOut(scanned.files, (text) => reporter.detail(text));
  const size = scanned.snapshot.entries.reduce((sum, each) => sum + (each.kind === 'file' ? each.size : 0), 0);
  warnLarge(reporter, scanned.snapshot, size, configuration.sync.warnSize);
  let next: Scanned | undefined = scanned;
  const context = { workspaceRoot, store, keys, reporter, signal, ...openContents(session) };
  const { snapshot, uploaded, saved } = await deposit(context, async () => {
    const now = next ?? (await scanProject(workspace));
    next = undefined;
    return now;
  });
  reporter.line(
    `Stored ${formatCount(snapshot.size, 'file')}: ${formatSize(uploaded)} uploaded, ${formatSize(saved)} there already`,
  );
  const tree = treeId({ ...owner, tree: configuration.sync.tree });
  const run = alone(await planned.part(session, tree, snapshot));
  const boot = await storeBoot(session, run, tree, snapshot, templateName(planned.id));
  // Known before anything of it is there: who is killed from here on is found again.
  if (!last) await rememberTraining(session, run.key, planned.id);
  else {
    // Files that were changed meanwhile make another training of it.
    const found = run.key === planned.key(scanned.snapshot) ? last : await lastOf(session, run.key);
    if (!(await claimTraining(session, run.key, planned.id, found))) return null;
  }
  const wish = fleetWish(session, ground, planned.id, boot);
  await makeTemplate(session.aws, wish, signal);
  return { run: planned.id, fleet: await make(session, wish, signal) };
}

/** As nobody is there to renew what a client has signed: by the role alone. */
function alone(part: RunPart): RunPart {
  const { store, restore } = part;
  return {
    ...part,
    detached: true,
    store: { ...store, access: 'role', post: null, expires: null },
    restore: restore && { ...restore, urls: null },
  };
}

/** Makes the fleet. Where it can't be made, nothing of it is left. */
async function make(session: RunsSession, wish: FleetWish, signal: AbortSignal): Promise<string> {
  const { aws } = session;
  try {
    return await makeFleet(aws, wish, signal);
  } catch (error) {
    // Made already, of a configuration that was another then.
    if (awsCode((error as Error).cause) === 'IdempotentParameterMismatch') {
      const { fleets } = await findFleet(aws, wish.run);
      if (fleets.length) return fleets[0];
    }
    await deleteFleet(aws, await runClaim(session, wish.run)).catch(() => undefined);
    throw error;
  }
}
