import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { isResumable, awaitsReplacement } from '../record/interruption';
import { latestRun, tryReadRecord, readRecord, type RunRecord } from '../record/record';
import { treeId } from '../../workspace/identity';
import type { RunContext } from '../../context/types';
import { lost, HEARTBEAT_TIMEOUT_MS } from '../record/liveness';
import { isRunId } from '../../schema/ids';
import { nxRun } from '../../report/shell-words';
import { StoreTooLarge } from '../../store/too-large';

/** A run of the store, with how long ago it was told of, ms. */
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
    next: `Write "last" for your latest run. The ids of all: ${nxRun(project, 'remote-status')}`,
  });
}

/**
 * The run that is meant: the one that is named, else the caller's own latest of this project in this workspace. Another
 * workspace may have a project of this name in the same store.
 * @param option the value of `--run`, or of another option that names a run.
 * @throws Problem where there is none.
 */
export async function resolveRun(session: RunContext, option: string | true | undefined): Promise<FoundRun> {
  const { store, keys, project } = session;
  const run = readRunOption(option, project);
  const found = run ? await readRecord(store, keys, run) : await latestRun(store, keys, await ownRuns(session));
  if (found) return found;
  throw new Problem(
    'NO_RUN',
    run
      ? `There is no run ${sanitizeForTerminal(run)} of ${project}.`
      : `${project} has no run of yours in this workspace.`,
    {
      next: run
        ? `The runs of ${project}: ${nxRun(project, 'remote-status')}`
        : `All runs of ${project}, also those that can't be verified: ${nxRun(project, 'remote-status')}. --run=<id> names one.`,
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

/** What is known to be so: a run that goes on is only said to while it was told of. */
export function goesOn({ record, age }: FoundRun): boolean {
  return record.state !== 'ended' && age < HEARTBEAT_TIMEOUT_MS;
}

/** What the store knows of a training. */
export interface SameTraining {
  /** One that needs no other: it goes on, or it has succeeded. */
  found: { record: RunRecord; attached: 'running' | 'ended' } | null;
  /** One that is done with: the instance is not to find it either. */
  known: string | null;
  /** One whose spot instance was taken away, and that nobody has gone on with yet. */
  interrupted?: RunRecord;
}

/** Looks up the run that was started last for a training. What the store has not been told of, the instance finds. */
export async function findDuplicateRun(
  { store, keys, at }: Pick<RunContext, 'store' | 'keys' | 'at'>,
  key: string,
): Promise<SameTraining> {
  const none = { found: null, known: null };
  const run = runOf(await store.get(keys.key(key), KEY_LIMIT).catch(unlessTooLarge));
  if (run === null) return none;
  // What can't be read is nobody's we know: it only helps to find.
  const read = await tryReadRecord(store, keys, run);
  if (!read || read.record.runKey !== key) return none;
  if (goesOn(read)) return { found: { record: read.record, attached: 'running' }, known: null };
  const record = await reconcileWithEc2(read.record, at);
  if (isResumable(record)) return { found: null, known: null, interrupted: record };
  // The next attempt comes by itself: that is what is attached to.
  if (awaitsReplacement(record)) return { found: { record: read.record, attached: 'running' }, known: null };
  if (record.state !== 'ended') return none;
  const kept = record.outcome === 'succeeded' && record.artifacts?.state !== 'failed';
  return kept ? { found: { record, attached: 'ended' }, known: null } : { found: null, known: run };
}

/** What the store says of a training: which run was started last, whatever became of it. */
export interface LastRun {
  /** null: none was. */
  run: string | null;
  record: RunRecord | null;
  /** How long ago it was named, ms; and what says whether another was since. */
  age: number;
  etag: string | null;
}

export async function latestRunForKey(
  { store, keys }: Pick<RunContext, 'store' | 'keys'>,
  key: string,
): Promise<LastRun> {
  const there = await store.getWithETag(keys.key(key), KEY_LIMIT);
  if (!there) return { run: null, record: null, age: Infinity, etag: null };
  const run = runOf(there.bytes);
  const record = run === null ? null : ((await readRecord(store, keys, run))?.record ?? null);
  return { run, record, age: there.answered - there.modified, etag: there.etag };
}

/** Names a run as the one that is started for a training. @returns false where another client has named one since. */
export async function claimTraining(
  { store, keys }: Pick<RunContext, 'store' | 'keys'>,
  key: string,
  run: string,
  { etag }: Pick<LastRun, 'etag'>,
): Promise<boolean> {
  return (await store.compareAndSwap(keys.key(key), keyObject(run), etag)) !== null;
}

/** A run that did not come to be is not waited for by who begins the same next. It only helps: that it fails is no failure. */
export async function disclaimTraining(
  { store, keys }: Pick<RunContext, 'store' | 'keys'>,
  key: string,
  run: string,
): Promise<void> {
  try {
    const there = await store.getWithETag(keys.key(key), KEY_LIMIT);
    if (there && runOf(there.bytes) === run) await store.compareAndSwap(keys.key(key), keyObject(), there.etag);
  } catch {
    // It is waited for.
  }
}

/** A record that nobody writes any more, of a run on a spot instance, as one that is lost where its instance is gone. */
async function reconcileWithEc2(record: RunRecord, at: RunContext['at']): Promise<RunRecord> {
  if (record.state === 'ended' || record.metadata.recovery === 'none') return record;
  try {
    await at(record.instance).assertInstanceExists();
    return record;
  } catch (error) {
    if (error instanceof Problem && error.code === 'INSTANCE_GONE') return lost(record, error);
    throw error;
  }
}

/** bytes */
const KEY_LIMIT = 64 * 1024;

/** One that is too large names no run: it only helps to find one. */
function unlessTooLarge(error: unknown): null {
  if (error instanceof StoreTooLarge) return null;
  throw error;
}

function keyObject(run?: string): Buffer {
  return Buffer.from(JSON.stringify({ v: 1, run }));
}

/** The run that the object under a key names; null where it names none. */
function runOf(bytes: Buffer | null): string | null {
  try {
    const { run } = JSON.parse(bytes?.toString() ?? '{}') as { run?: unknown };
    return typeof run === 'string' && isRunId(run) ? run : null;
  } catch {
    return null;
  }
}

/** Writes down which run was started last for a training. It only helps to find: that it fails is no failure. */
export async function indexRunKey(
  { store, keys }: Pick<RunContext, 'store' | 'keys'>,
  key: string,
  run: string,
): Promise<void> {
  await store.put(keys.key(key), keyObject(run), { contentType: 'application/json' }).catch(() => undefined);
}
