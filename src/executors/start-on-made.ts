import type { Description } from '../config/description';
import type { BroughtUp } from '../instance/bring-up';
import { isLiving, lookAt } from '../instance/living';
import { readTags } from '../instance/tags';
import { endInterrupted } from '../run/end-interrupted';
import { sameTraining } from '../run/find-run';
import { launch, type Launched } from '../run/launch';
import { giveUp, makeInstance, seeOff } from '../run/made-instance';
import { readRecord, type RunRecord } from '../run/record';
import { untilSilent, type Recovery } from '../run/recover';
import { resumePoint } from '../run/resume';
import { scanProject, type Scanned } from '../run/scan-project';
import { openRuns, openSession, type RunsSession, type Session } from '../run/session';
import { planRun, type NextAttempt, type PlannedRun } from '../run/training';
import { Problem } from '../report/problem';
import { commandOf } from '../workspace/invocation';
import type { Target } from './run-target';
import type { MadeRun, StartOptions } from './start-training';

/**
 * Starts a training on an instance that is made for it: not before it is known that no run is the same, and ended
 * again where the training does not begin.
 */
export async function startOnMade(
  target: Target,
  description: Description,
  options: StartOptions,
  detached: boolean,
  then: (session: RunsSession, launched: Launched, made: MadeRun) => Promise<object>,
): Promise<object> {
  const { configuration, context, reporter, project, signal } = target;
  const rerun = options.rerun ?? false;
  const runs = openRuns(configuration, project, context.root, reporter);
  const start = new MadeStart(target, description, runs, options);
  try {
    const key = await start.plan(detached);
    const made: MadeRun = {
      recovery: description.recovery === 'client' ? start : null,
      seeOff: (run) => {
        target.onInterrupt(() => `Interrupted: the training has ended, and ${run.instance} ends itself.`);
        return seeOff(runs, run, start.broughtUp, signal);
      },
    };
    const same = rerun ? null : await sameTraining(runs, key);
    if (same?.found) {
      const { record: run, attached } = same.found;
      return await then(runs, { run, attached, settled: Promise.resolve() }, made);
    }
    const { interrupted } = same ?? {};
    const launched = interrupted
      ? await start.goOn(interrupted, {
          ...{ id: interrupted.id, attempt: interrupted.attempt + 1, beat: interrupted.beat },
        })
      : await start.begin();
    return await then(runs, launched, made);
  } finally {
    start.close();
    runs.close();
  }
}

/** A training and the instances that it comes to be on, one after another. */
class MadeStart implements Recovery {
  private scanned!: Scanned;
  private planned!: PlannedRun;
  private instance: BroughtUp | undefined;
  private readonly sessions: Session[] = [];

  constructor(
    private readonly target: Target,
    private readonly description: Description,
    private readonly runs: RunsSession,
    private readonly options: StartOptions,
  ) {}

  /** @returns what makes two trainings the same. */
  async plan(detached: boolean): Promise<string> {
    const { target, runs, options } = this;
    const { configuration, context, project, workspace } = target;
    this.scanned = await scanProject(workspace);
    const restore = options.resume ? await resumePoint(runs, options.resume, !detached) : null;
    this.planned = await planRun(configuration, project, this.scanned, context.root, {
      ...{ rerun: options.rerun ?? false, detached, restore, aws: runs.aws },
      price: () => this.instance?.price ?? null,
    });
    return this.planned.key(this.scanned.snapshot);
  }

  async begin(): Promise<Launched> {
    const { reporter } = this.runs;
    for (;;) {
      this.instance = undefined;
      try {
        return await this.launch(await this.makeReady(this.planned.id));
      } catch (error) {
        if (!(await this.endedUnbegun())) throw error;
        reporter.line(`${this.instance!.id} came to its end before the training began there: another takes its place.`);
      }
    }
  }

  async goOn(gone: RunRecord, next: NextAttempt): Promise<Launched> {
    const { context, signal } = this.target;
    this.target.onInterrupt(
      () => `Interrupted before ${gone.id} was gone on with. Go on with it: ${commandOf(context, 'remote-train')}`,
    );
    const before = await endInterrupted(this.runs, gone, this.broughtUp, signal);
    const deadline = (before && readTags(before.tags).deadline) ?? this.instance?.deadline ?? undefined;
    const session = await this.makeReady(gone.id, deadline);
    await untilSilent(session, gone.id, signal);
    return this.launch(session, next);
  }

  /** The id of the instance that this command has brought up last; null: none yet. */
  get broughtUp(): string | null {
    return this.instance?.id ?? null;
  }

  close(): void {
    for (const session of this.sessions) session.close();
  }

  /** Whether the instance, which was there already, is gone, as one of its guards may have begun to end it, and nothing of the run is known. */
  private async endedUnbegun(): Promise<boolean> {
    const { instance, target, runs, planned } = this;
    if (instance?.how !== 'found' || target.signal.aborted) return false;
    const now = await lookAt(runs.aws, instance.id, target.signal);
    return !(now && isLiving(now)) && (await readRecord(runs.store, runs.keys, planned.id)) === null;
  }

  /** Makes an instance for a run, or finds the one that was made, and waits until it can be used. */
  private async makeReady(run: string, deadline?: number): Promise<Session> {
    const { target, runs } = this;
    const { configuration, context, project, reporter, signal } = target;
    target.onInterrupt(() => `Interrupted while an instance was being launched. ${this.endIt}`);
    const up = ({ id }: BroughtUp) =>
      target.onInterrupt(
        () =>
          `Interrupted: ${id} is up. The same command goes on with it; where none comes it ends itself. ${this.endIt}`,
      );
    this.instance = await makeInstance(runs, this.description, { id: run, deadline }, up, signal);
    const { id } = this.instance;
    const at = { instance: { id, wait: configuration.instance.wait }, instances: [{ id }] };
    try {
      const session = await openSession({ ...configuration, ...at }, project, context.root, reporter, 'store');
      this.sessions.push(session);
      return session;
    } catch (error) {
      await giveUp(runs, this.instance, run, signal);
      throw error;
    }
  }

  /** Starts the training there, or goes on with it. */
  private async launch(session: Session, goOn?: NextAttempt): Promise<Launched> {
    const { target, runs, scanned, options, planned } = this;
    const { context, workspace, reporter, signal } = target;
    let sent = false;
    try {
      return await launch(session, workspace, planned, {
        ...{ signal, scanned, goOn, rerun: options.rerun ?? false, force: options.force },
        onSend: () => {
          sent = true;
          const status = commandOf(context, 'remote-status');
          target.onInterrupt(() => `Interrupted while the training was being started. See whether it runs: ${status}`);
        },
      });
    } catch (error) {
      const gone = error instanceof Problem && error.code === 'INSTANCE_GONE';
      if (!sent) await giveUp(runs, this.instance!, goOn?.id ?? planned.id, signal);
      else if (!gone)
        reporter.warn(`${session.instance} is left: where no training goes on there, it ends itself. ${this.endIt}`);
      throw error;
    }
  }

  private get endIt(): string {
    return `End it now: ${commandOf(this.target.context, 'remote-down')}`;
  }
}
