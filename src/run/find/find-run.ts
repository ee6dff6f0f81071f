import { allowsResultsOf } from '../../config/policy';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { isResumable, awaitsReplacement } from '../record/interruption';
import { latestRun, tryReadRecord, readRecord, type RunRecord } from '../record/record';
import { treeId } from '../../workspace/identity';
import type { RunContext } from '../../context/types';
import { lost, HEARTBEAT_TIMEOUT_MS } from '../record/liveness';
import { isRunId } from '../../schema/ids';
import { nxRun } from '../../report/shell-words';
import { runsForKey } from './run-key-index';

/** A run of the store, with the age of its record, ms. */
export interface FoundRun {
  record: RunRecord;
  age: number;
}

/** The values of `--run` that mean the caller's own latest run; Nx hands over `true` for an option without a value. */
const LATEST: readonly unknown[] = [undefined, true, 'true', 'last'];

/**
 * Reads the value of an option that names a run.
 * @returns the id; undefined for the caller's own latest run.
 * @throws Problem `RUN_ID`
 */
export function readRunOption(option: string | true | undefined, project: string): string | undefined {
  if (LATEST.includes(option)) return undefined;
  const run = String(option);
  if (isRunId(run)) return run;
  throw new Problem('RUN_ID', `${sanitizeForTerminal(run)} is not a run id.`, {
    next: `Write "last" for your latest run. To list all: ${nxRun(project, 'remote-status')}`,
  });
}

/**
 * The run that is meant: the one that is named, else the caller's own latest of this project in this workspace. Another
 * workspace may have a project of this name in the same store.
 * @param option the value of `--run`, or of another option that names a run.
 * @throws Problem where there is none.
 */
export async function resolveRun(context: RunContext, option: string | true | undefined): Promise<FoundRun> {
  const { store, keys, project } = context;
  const run = readRunOption(option, project);
  const found = run ? await readRecord(store, keys, run) : await latestRun(store, keys, await ownRuns(context));
  if (found) return found;
  throw new Problem(
    'NO_RUN',
    run
      ? `There is no run ${sanitizeForTerminal(run)} of ${project}.`
      : `${project} has no run of yours in this workspace.`,
    {
      next: run
        ? `To list the runs of ${project}: ${nxRun(project, 'remote-status')}`
        : `Name a run of another caller or workspace with --run=<id>. To list all runs of ${project}, also those that can't be verified: ${nxRun(project, 'remote-status')}`,
    },
  );
}

/** Whether a run is one that the caller started from this workspace: it is on the tree of both. */
async function ownRuns({ configuration, owner }: RunContext): Promise<(record: RunRecord) => boolean> {
  const own = await owner();
  const { tree } = configuration.sync;
  const trees = [treeId(own), treeId({ ...own, tree })];
  return (record) => record.caller === own.caller && trees.includes(record.tree);
}

/** Whether a run is known to be active: its record says so, and is recent. */
export function isKnownActive({ record, age }: FoundRun): boolean {
  return record.state !== 'ended' && age < HEARTBEAT_TIMEOUT_MS;
}

/** What the store knows of a training. */
export interface SameTraining {
  /** One that needs no other: it is active, or it has succeeded. */
  found: { record: RunRecord; attached: 'running' | 'ended' } | null;
  /** A run that has failed, or whose result is not to be taken: the instance is not to find it either. */
  known: string | null;
  /** A run whose spot instance was reclaimed, and that was not resumed yet. */
  interrupted?: RunRecord;
}

/**
 * Looks up the run that was started last for a training, by a caller whose results may be taken. The instance finds a run
 * that has no record in the store yet.
 */
export async function findDuplicateRun(context: FindContext, key: string): Promise<SameTraining> {
  const { at } = context;
  const { read, refused } = await newestOf(context, key);
  const none = { found: null, known: refused };
  if (!read) return none;
  const record = await reconcileWithEc2(read, at);
  if (isKnownActive({ record, age: read.age })) return { found: { record, attached: 'running' }, known: null };
  if (isResumable(record)) return { found: null, known: null, interrupted: record };
  // The next attempt comes by itself: that is what is attached to.
  if (awaitsReplacement(record)) return { found: { record: read.record, attached: 'running' }, known: null };
  if (record.state !== 'ended') return none;
  const kept = record.outcome === 'succeeded' && record.artifacts?.state !== 'failed';
  return kept ? { found: { record, attached: 'ended' }, known: null } : { found: null, known: record.id };
}

type FindContext = Pick<RunContext, 'store' | 'keys' | 'at' | 'caller' | 'workspaceRoot'>;

/**
 * The newest run of a training that has a record. A record that can't be read is skipped.
 * @returns `refused`: the newest one of a caller whose results a policy does not allow to take.
 */
async function newestOf(context: FindContext, key: string): Promise<{ read: FoundRun | null; refused: string | null }> {
  let refused: string | null = null;
  for (const run of await runsForKey(context, key)) {
    const read = await tryReadRecord(context.store, context.keys, run);
    if (read?.record.runKey !== key) continue;
    if (await mayTakeResult(context, read.record)) return { read, refused };
    refused ??= run;
  }
  return { read: null, refused };
}

/** Whether the policies allow to take the result of a run: always that of the caller's own. */
export async function mayTakeResult(
  { caller, workspaceRoot }: Pick<RunContext, 'caller' | 'workspaceRoot'>,
  run: Pick<RunRecord, 'caller'>,
): Promise<boolean> {
  return allowsResultsOf(run.caller, workspaceRoot, process.env) || run.caller === (await caller());
}

/**
 * Marks a run as lost if its instance is gone: one that was written a moment ago, because its instance may have been
 * terminated since, and a spot run that is no longer written. One on nodes that exist is lost once it is no longer
 * written: its instance may have been restarted, and starts no second one if the run is active there.
 */
async function reconcileWithEc2(found: FoundRun, at: RunContext['at']): Promise<RunRecord> {
  const { record } = found;
  const isActive = isKnownActive(found);
  if (record.state === 'ended' || (!isActive && record.metadata.recovery === 'none')) return record;
  try {
    await at(record.instance).assertInstanceExists();
    if (isActive || record.metadata.recovery !== 'command') return record;
    return lost(record, new Problem('RUN_LOST', 'it sent no more heartbeats'), found.age);
  } catch (error) {
    if (error instanceof Problem && error.code === 'INSTANCE_GONE') return lost(record, error, found.age);
    // A caller that may not ask follows the record.
    if (isActive) return record;
    throw error;
  }
}
