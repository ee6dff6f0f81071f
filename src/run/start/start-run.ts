import { invalidReply } from '../../command/reply-shapes';
import type { LogPiece, RunFacts, RunPart, TrainReply } from '../../command/plan';
import { SyncNotNeeded } from '../../sync/pipeline/types';
import { Moment } from '../../system/moment';
import { findDuplicateRun, mayTakeResult, type SameTraining } from '../find/find-run';
import { Problem } from '../../report/problem';
import { nxRun } from '../../report/shell-words';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { announceRun, indexRunKey } from '../find/run-key-index';
import { push } from '../../project/sync-project';
import { tryReadRecord } from '../record/record';
import type { Scanned, Workspace } from '../../project/scan-project';
import type { EarlyUpload } from '../../sync/transport/early-upload';
import type { NextAttempt, PlannedRun } from './plan-run';
import type { InstanceContext } from '../../context/types';
import { waitForLeaseExpiry } from '../record/lease';

export interface StartedRun {
  run: RunFacts;
  attached: false | 'running' | 'ended';
  /** What it has printed so far. */
  log?: LogPiece;
  /** When the form was signed that it writes to the store with; undefined where another client started it. */
  formSince?: Moment;
  /** What remains to be done beside what follows. Never rejects. */
  settled: Promise<unknown>;
}

/**
 * Starts a training, with the command that also syncs; or finds a run of the same training, or resumes one that was
 * interrupted. With `nextAttempt` it resumes that run, as that attempt.
 */
export async function startRun(
  context: InstanceContext,
  workspace: Workspace,
  planned: PlannedRun,
  options: {
    signal: AbortSignal;
    scanned: Scanned;
    /** An upload that has begun while the workspace was scanned. */
    early?: EarlyUpload;
    rerun: boolean;
    force?: boolean;
    nextAttempt?: NextAttempt;
    /**
     * The run and its snapshot are recorded in the store before the command is sent: for an instance that ends with its
     * run, as a client that dies in between could not find them there.
     */
    storeFirst?: boolean;
    onSend: () => void;
  },
): Promise<StartedRun> {
  const { signal, scanned, rerun, force } = options;
  // While it is found out what must be sent, and sent, it is looked up whether that is needed.
  const key = planned.key(scanned.snapshot);
  const looking: Promise<SameTraining> =
    rerun || options.nextAttempt ? Promise.resolve({ found: null, known: null }) : findDuplicateRun(context, key);
  looking.catch(() => undefined);
  const indexed = async (part: RunPart): Promise<RunPart> => {
    if (options.storeFirst) await announceRun(context, part.runKey, part.id);
    return part;
  };
  const formSince = new Moment();
  try {
    const pushed = await push<TrainReply>(context, workspace, {
      signal,
      force,
      first: scanned,
      early: options.early,
      run: async (snapshot) => {
        const next = options.nextAttempt && (await resumable(context, options.nextAttempt, signal));
        const [part, same] = await Promise.all([planned.part(context, context.tree, snapshot, { next }), looking]);
        if (part.runKey !== key || options.nextAttempt) return indexed(part);
        if (same.found) throw new SyncNotNeeded();
        if (!same.interrupted) return indexed({ ...part, knownFailed: same.known });
        const { id, instance, attempt, heartbeat } = same.interrupted;
        context.printer.line(`${id} was interrupted on ${instance}; resuming it (--rerun starts a new run).`);
        const after = await resumable(context, { id, attempt: attempt + 1, heartbeat }, signal);
        return planned.part(context, context.tree, snapshot, { next: after });
      },
      onSend: options.onSend,
      needs: () => planned.needs(),
      storeFirst: options.storeFirst,
    });
    const { run, attached, log } = pushed.reply;
    if (attached) await assertTakable(context, run);
    const remembered = indexRunKey(context, run.runKey, run.id);
    return { run, attached, log, formSince, settled: Promise.all([pushed.settled, remembered]) };
  } catch (error) {
    if (!(error instanceof SyncNotNeeded)) throw error;
    const { record, attached } = (await looking).found!;
    return { run: record, attached, settled: Promise.resolve() };
  }
}

/** The next attempt of a run, when an instance may begin it. */
async function resumable(context: InstanceContext, next: NextAttempt, signal: AbortSignal): Promise<NextAttempt> {
  if (next.waiting) return next;
  const before = await waitForLeaseExpiry(context, next.id, signal, 0, next.attempt);
  return { ...next, terminated: before?.terminated };
}

/** @throws Problem where the instance has found a run whose result is not this client's to take. */
async function assertTakable(context: InstanceContext, run: RunFacts): Promise<void> {
  await assertSameWorkspace(context, run);
  await assertAllowedResult(context, run);
}

/** @throws Problem `POLICY` where the instance has found a run whose result is not to be taken. */
async function assertAllowedResult(context: InstanceContext, run: RunFacts): Promise<void> {
  if (await mayTakeResult(context, run)) return;
  throw new Problem(
    'POLICY',
    `${context.instance} has ${run.id} of the same training, started by ${sanitizeForTerminal(run.caller)}, whose results a policy does not allow to take ("callers").`,
    { next: `To train again: ${nxRun(context.project, 'remote-train', '--rerun')}` },
  );
}

/**
 * Refuses a run that an instance names as the same training where the store knows better: this client would sign a form
 * for that run's objects, and give it to the instance.
 * @throws Problem `REPLY_INVALID`
 */
async function assertSameWorkspace({ store, keys, instance }: InstanceContext, run: RunFacts): Promise<void> {
  const read = await tryReadRecord(store, keys, run.id);
  if (!read || (read.record.runKey === run.runKey && read.record.instance === run.instance)) return;
  throw invalidReply(
    instance,
    `it describes ${run.id}, which is another training or on another instance according to the store`,
  );
}
