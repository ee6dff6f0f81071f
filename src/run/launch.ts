import { invalidReply } from '../command/reply-shapes';
import type { LogPiece, RunFacts, TrainReply } from '../command/plan';
import { Halt } from '../sync/synchronise';
import { Moment } from '../system/moment';
import { rememberTraining, sameTraining, type SameTraining } from './find-run';
import { push } from './push';
import { readOrNobodys } from './record';
import { untilSilent } from './recover';
import type { Scanned, Workspace } from './scan-project';
import type { Session } from './session';
import type { NextAttempt, PlannedRun } from './training';

export interface Launched {
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
 * Starts a training, with the command that also syncs; or finds the one that is the same, or goes on with it where it was
 * interrupted. With `goOn` that very run is gone on with, as that attempt.
 */
export async function launch(
  session: Session,
  workspace: Workspace,
  planned: PlannedRun,
  options: {
    signal: AbortSignal;
    scanned: Scanned;
    rerun: boolean;
    force?: boolean;
    goOn?: NextAttempt;
    onSend: () => void;
  },
): Promise<Launched> {
  const { signal, scanned, rerun, force } = options;
  // While it is found out what must be sent, and sent, it is looked up whether that is needed.
  const key = planned.key(scanned.snapshot);
  const looking: Promise<SameTraining> =
    rerun || options.goOn ? Promise.resolve({ found: null, known: null }) : sameTraining(session, key);
  looking.catch(() => undefined);
  const formSince = new Moment();
  try {
    const pushed = await push<TrainReply>(session, workspace, {
      ...{ signal, force },
      first: scanned,
      run: async (snapshot) => {
        const [part, same] = await Promise.all([planned.part(session, session.tree, snapshot, options.goOn), looking]);
        if (part.key !== key || options.goOn) return part;
        if (same.found) throw new Halt();
        if (!same.interrupted) return { ...part, known: same.known };
        const { id, instance, attempt, beat } = same.interrupted;
        session.reporter.line(`${id} was interrupted on ${instance}: it is gone on with (--rerun starts another).`);
        await untilSilent(session, id, signal);
        return planned.part(session, session.tree, snapshot, { id, attempt: attempt + 1, beat });
      },
      onSend: options.onSend,
    });
    const { run, attached, log } = pushed.reply;
    if (attached) await refuseForeign(session, run);
    const remembered = rememberTraining(session, run.key, run.id);
    return { run, attached, log, formSince, settled: Promise.all([pushed.settled, remembered]) };
  } catch (error) {
    if (!(error instanceof Halt)) throw error;
    const { record, attached } = (await looking).found!;
    return { run: record, attached, settled: Promise.resolve() };
  }
}

/**
 * Refuses a run that an instance names as the same training where the store knows better: this client would sign a form
 * for that run's objects, and give it to the instance.
 * @throws Problem `REPLY_INVALID`
 */
async function refuseForeign({ store, keys, instance }: Session, run: RunFacts): Promise<void> {
  const read = await readOrNobodys(store, keys, run.id);
  if (!read || (read.record.key === run.key && read.record.instance === run.instance)) return;
  throw invalidReply(
    instance,
    `it tells of ${run.id}, which the store knows as another training or on another instance`,
  );
}
