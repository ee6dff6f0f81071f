import { awsCode, mayHaveHappened } from '../../aws/reason';
import type { RunPart } from '../../command/plan';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { findFleet } from '../../instance/fleet/find-fleet';
import { createFleets, createLaunchTemplate, templateName, type FleetRequest } from '../../instance/fleet/fleet';
import type { Owner } from '../../instance/describe/ownership';
import { deleteFleet } from '../../instance/stop/delete-fleet';
import { Problem } from '../../report/problem';
import { formatCount, formatDuration, formatSize } from '../../report/units';
import { storeSnapshot } from '../../sync/restore/store-snapshot';
import { treeId } from '../../workspace/identity';
import { storeBoot } from '../start/boot-object';
import { requiredRunTags } from '../../context/required-tags';
import { describeLeftOut, warnLarge } from '../../project/describe-files';
import { reserveRunKey, releaseRunKey, latestRunForKey, indexRunKey, type LastRun } from '../find/run-key-index';
import type { StartedRun } from '../start/start-run';
import { mayTakeResult } from '../find/find-run';
import type { RunRecord } from '../record/record';
import { scanProject, type Scanned, type Workspace } from '../../project/scan-project';
import { createUploadContext } from '../../context/context';
import type { PlannedRun } from '../start/plan-run';
import { waitForFirstAttempt } from './wait-first-attempt';
import { waitForConcurrentStart, findExistingRun, type UnstartedRun } from './find-unstarted';
import { deadlineOf, fleetRequest, resolveFleetInputs, type FleetInputs } from './fleet-request';
import type { RunContext } from '../../context/types';

/** So often another client may be faster. */
const MAX_ATTEMPTS = 5;
/** The nodes that are there wait no longer than this for one that has never begun, ms: not all have capacity. */
const NODES_START_MS = 5 * 60_000;
/** And than this for one in the place of a lost one, ms. The watchdog keeps them longer: src/runtime/watchdog/shutdown_rules.py. */
const NODE_REPLACEMENT_MS = 8 * 60_000;

export interface FleetOptions {
  launchSpec: LaunchSpec;
  workspace: Workspace;
  planned: PlannedRun;
  signal: AbortSignal;
  scanned: Scanned;
  rerun: boolean;
  /** Time limit, ms, until the fleet has started the run. */
  wait: number;
  /** Called when the fleet exists, which lasts whatever becomes of this client. */
  onLaunched: (run: string) => void;
}

/**
 * Starts a training that a fleet recovers, or finds a run of the same training. Returns when its first attempt has
 * begun. After a kill at any step, the next call continues with what exists.
 */
export async function launchFleet(context: RunContext, options: FleetOptions): Promise<StartedRun> {
  const { planned } = options;
  const key = planned.key(options.scanned.snapshot);
  try {
    return await launchOrFind(context, key, options);
  } catch (error) {
    const left = await findFleet(context.aws, planned.id).catch(() => null);
    if (left && !left.fleets.length && !left.template) await releaseRunKey(context, key, planned.id);
    throw error;
  }
}

/** Other clients start the same training at the same time, or someone writes objects that say so. */
function contested({ store, keys }: RunContext, key: string): Problem {
  return new Problem('STORE_CHANGED', `Other programs keep overwriting s3://${store.bucket}/${keys.key(key)}.`, {
    next: 'No fleet was created. If no one else starts this training, check who may write to the bucket. To start it anyway, add --rerun.',
  });
}

async function launchOrFind(context: RunContext, key: string, options: FleetOptions): Promise<StartedRun> {
  const { launchSpec, signal, rerun, wait } = options;
  const owner = await context.owner();
  let inputs: FleetInputs | undefined;
  let begun: UnstartedRun | null = null;
  let made: { run: string; fleets: string[] } | null = null;
  for (let attempts = 0; !made; attempts++) {
    if (attempts === MAX_ATTEMPTS) throw contested(context, key);
    const last = rerun ? null : await waitForConcurrentStart(context, key, signal);
    const there = last && (await findExistingRun(context, key, last));
    if (there && 'run' in there) return { ...there, settled: Promise.resolve() };
    begun = there;
    inputs ??= await resolveFleetInputs(context, launchSpec, owner, signal);
    made = begun
      ? {
          run: begun.id,
          fleets:
            begun.fleets.length >= inputs.nodes
              ? begun.fleets
              : await make(context, fleetRequest(context, inputs, begun.id, null), signal),
        }
      : await start(context, inputs, owner, last, options);
  }
  options.onLaunched(made.run);
  const { run, fleets } = made;
  const left = formatDuration(deadlineOf(inputs!, run) - (await context.aws.now()));
  context.printer.line(
    fleets.length === 1
      ? `The fleet ${fleets[0]} ${begun ? 'exists' : 'was created'}: it runs ${run} without a client, and is deleted in ${left} at the latest.`
      : `${fleets.length} fleets ${begun ? 'exist' : 'were created'}, one for each node (${fleets.join(', ')}): they run ${run} without a client, and are deleted in ${left} at the latest.`,
  );
  const record = await waitForFirstAttempt(context, { run, fleets }, wait, signal);
  if (begun) await assertSameTraining(context, key, record);
  if (record.failure?.code === 'RECOVERY_REFUSED') {
    await deleteFleet(context.aws, await requiredRunTags(context, made.run));
    throw new Problem('RECOVERY_REFUSED', record.failure.message, {
      next: 'The fleet was deleted. Use the instance role of nx g nx-ec2:aws-setup, or "recovery": "client", which does not need this permission.',
    });
  }
  const attached = begun ? ('running' as const) : false;
  return { run: record, attached, settled: indexRunKey(context, record.runKey, record.id) };
}

/** A run was waited for because an object names it that anybody may have written. @throws Problem `STORE_CHANGED` */
async function assertSameTraining(context: RunContext, key: string, record: RunRecord): Promise<void> {
  if (record.runKey === key && (await mayTakeResult(context, record))) return;
  const { store, keys } = context;
  const why = record.runKey === key ? 'whose results a policy does not allow to take' : 'which is another training';
  throw new Problem('STORE_CHANGED', `s3://${store.bucket}/${keys.key(key)} names ${record.id}, ${why}.`, {
    next: 'No run was started. Check who may write to the bucket, and run the same command again.',
  });
}

/**
 * Everything into the store, then the template, then the fleet.
 * @param last the training's; null: another run of it is wanted in any case.
 * @returns null if another client has started one in between.
 */
async function start(
  context: RunContext,
  inputs: FleetInputs,
  owner: Owner,
  last: LastRun | null,
  { workspace, planned, signal, scanned }: FleetOptions,
): Promise<{ run: string; fleets: string[] } | null> {
  const { printer, configuration, store, keys, workspaceRoot } = context;
  describeLeftOut(scanned.files, (text) => printer.detail(text));
  const size = scanned.snapshot.entries.reduce((sum, each) => sum + (each.kind === 'file' ? each.size : 0), 0);
  warnLarge(printer, scanned.snapshot, size, configuration.sync.warnAbove);
  let next: Scanned | undefined = scanned;
  const upload = { workspaceRoot, store, keys, printer, signal, ...createUploadContext(context) };
  const { snapshot, uploaded, saved } = await storeSnapshot(upload, async () => {
    const now = next ?? (await scanProject(workspace));
    next = undefined;
    return now;
  });
  printer.line(
    `Stored ${formatCount(snapshot.size, 'file')}: ${formatSize(uploaded)} uploaded, ${formatSize(saved)} there already`,
  );
  const tree = treeId({ ...owner, tree: configuration.sync.tree });
  const run = alone(await planned.part(context, tree, snapshot), configuration);
  const boot = await storeBoot(context, run, tree, snapshot, templateName(planned.id));
  // Known before anything of it is there: who is killed from here on is found again.
  if (!last) await indexRunKey(context, run.runKey, planned.id);
  else {
    // If files have changed since, it is another training.
    const found = run.runKey === planned.key(scanned.snapshot) ? last : await latestRunForKey(context, run.runKey);
    if (!(await reserveRunKey(context, run.runKey, planned.id, found))) return null;
  }
  const request = fleetRequest(context, inputs, planned.id, boot);
  await createLaunchTemplate(context.aws, request, signal);
  return { run: planned.id, fleets: await make(context, request, signal) };
}

/** By the role alone, because no client renews presigned requests. */
function alone(part: RunPart, { instance: { startupTimeout }, train }: RunContext['configuration']): RunPart {
  const { store, resumeFrom: restore, node } = part;
  const seconds = (limit: number) => Math.ceil(Math.min(limit, startupTimeout) / 1000);
  const timeouts = { start: seconds(NODES_START_MS), replacement: seconds(NODE_REPLACEMENT_MS) };
  const growAfter = train.growAfter === false ? null : Math.ceil(train.growAfter / 1000);
  const elastic = train.minNodes === undefined ? {} : { elastic: { least: train.minNodes, growAfter } };
  return {
    ...part,
    node: node && { ...node, timeouts, ...elastic },
    detached: true,
    store: { ...store, access: 'role', post: null, expires: null },
    resumeFrom: restore && { ...restore, urls: null },
  };
}

/** Makes the fleets. Where one can't be made, nothing of them is left. */
async function make(context: RunContext, request: FleetRequest, signal: AbortSignal): Promise<string[]> {
  const { aws } = context;
  const created: string[] = [];
  try {
    await createFleets(aws, request, (id) => void created.push(id), signal);
    return created;
  } catch (error) {
    const { cause } = error as Error;
    // Made already: of a configuration that was another then, or the answer was lost.
    if (!signal.aborted && (awsCode(cause) === 'IdempotentParameterMismatch' || mayHaveHappened(cause))) {
      const { fleets } = await findFleet(aws, request.run);
      if (fleets.length >= request.nodes) return fleets;
    }
    await deleteFleet(aws, await requiredRunTags(context, request.run), created).catch(() => undefined);
    throw error;
  }
}
