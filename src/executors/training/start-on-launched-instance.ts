import type { LaunchSpec } from '../../config/schema/launch-spec';
import type { EnsuredInstance } from '../../instance/launch/ensure-instance';
import { isAlive, describeInstance } from '../../instance/describe/describe-instances';
import { readTags } from '../../instance/describe/tags';
import { endInterrupted } from '../../run/start/end-interrupted';
import { findDuplicateRun } from '../../run/find/find-run';
import { startRun, type StartedRun } from '../../run/start/start-run';
import { terminateUnused, launchForRun, waitForShutdown } from '../../run/start/run-instance';
import { readRecord, type RunRecord } from '../../run/record/record';
import type { Recovery } from '../../run/start/follow-with-recovery';
import { resumePoint } from '../../run/start/checkpoint-to-restore';
import { scanProject, type Scanned } from '../../project/scan-project';
import { createRunContext, createInstanceContext } from '../../context/context';
import { assertVolume } from '../../project/assert-ready';
import { planRun, type NextAttempt, type PlannedRun } from '../../run/start/plan-run';
import { Problem } from '../../report/problem';
import { targetCommand } from '../../workspace/invocation';
import type { Target } from '../lib/run-target';
import type { RunContext, InstanceContext } from '../../context/types';
import { waitForLeaseExpiry } from '../../run/record/lease';
import type { RunInstanceLifecycle, StartOptions } from './types';

/**
 * Starts a training on an instance that is made for it: not before it is known that no run is the same, and ended
 * again where the training does not begin.
 */
export async function startOnLaunchedInstance(
  target: Target,
  launchSpec: LaunchSpec,
  options: StartOptions,
  detached: boolean,
  then: (runContext: RunContext, started: StartedRun, made: RunInstanceLifecycle) => Promise<object>,
): Promise<object> {
  const { configuration, context, printer, project, signal } = target;
  const rerun = options.rerun ?? false;
  const runs = createRunContext(configuration, project, context.root, printer);
  const start = new LaunchedStart(target, launchSpec, runs, options);
  try {
    const key = await start.plan(detached);
    const made: RunInstanceLifecycle = {
      recovery: launchSpec.recovery === 'client' ? start : null,
      waitForShutdown: (run) => {
        target.answerSignal(() => `Interrupted. The training has ended, and ${run.instance} shuts itself down.`);
        return waitForShutdown(runs, run, start.broughtUp, signal);
      },
    };
    const same = rerun ? null : await findDuplicateRun(runs, key);
    if (same?.found) {
      const { record: run, attached } = same.found;
      return await then(runs, { run, attached, settled: Promise.resolve() }, made);
    }
    const { interrupted } = same ?? {};
    const started = interrupted
      ? await start.continueRun(interrupted, {
          id: interrupted.id,
          attempt: interrupted.attempt + 1,
          heartbeat: interrupted.heartbeat,
        })
      : await start.begin();
    return await then(runs, started, made);
  } finally {
    start.close();
    runs.close();
  }
}

/** A training and the instances that it runs on, one after another. */
class LaunchedStart implements Recovery {
  private scanned!: Scanned;
  private planned!: PlannedRun;
  private instance: EnsuredInstance | undefined;
  private readonly instanceContexts: InstanceContext[] = [];

  constructor(
    private readonly target: Target,
    private readonly launchSpec: LaunchSpec,
    private readonly runs: RunContext,
    private readonly options: StartOptions,
  ) {}

  /** @returns what makes two trainings the same. */
  async plan(detached: boolean): Promise<string> {
    const { target, runs, options } = this;
    const { configuration, context, project, workspace } = target;
    this.scanned = await scanProject(workspace);
    const restore = options.resumeFrom ? await resumePoint(runs, options.resumeFrom, !detached) : null;
    this.planned = await planRun(configuration, project, this.scanned, context.root, {
      rerun: options.rerun ?? false,
      detached,
      restore,
      aws: runs.aws,
      price: () => this.instance?.price ?? null,
    });
    return this.planned.key(this.scanned.snapshot);
  }

  async begin(): Promise<StartedRun> {
    const { printer } = this.runs;
    assertVolume(this.launchSpec, this.planned.needs(), printer);
    for (;;) {
      this.instance = undefined;
      try {
        return await this.launch(await this.makeReady(this.planned.id));
      } catch (error) {
        if (!(await this.endedUnbegun())) throw error;
        printer.line(`${this.instance!.id} ended before the training started there; launching a replacement.`);
      }
    }
  }

  async continueRun(gone: RunRecord, next: NextAttempt): Promise<StartedRun> {
    const { context, signal } = this.target;
    this.target.answerSignal(
      () => `Interrupted before ${gone.id} was resumed. To resume it: ${targetCommand(context, 'remote-train')}`,
    );
    const before = await endInterrupted(this.runs, gone, this.broughtUp, signal);
    const deadline = (before && readTags(before.tags).deadline) ?? this.instance?.deadline ?? undefined;
    const instanceContext = await this.makeReady(gone.id, deadline);
    await waitForLeaseExpiry(instanceContext, gone.id, signal);
    return this.launch(instanceContext, next);
  }

  /** The id of the instance that this command has brought up last; null: none yet. */
  get broughtUp(): string | null {
    return this.instance?.id ?? null;
  }

  close(): void {
    for (const instanceContext of this.instanceContexts) instanceContext.close();
  }

  /** Whether an instance that existed before is gone, for example by a shutdown rule, and the run is unknown. */
  private async endedUnbegun(): Promise<boolean> {
    const { instance, target, runs, planned } = this;
    if (instance?.how !== 'found' || target.signal.aborted) return false;
    const now = await describeInstance(runs.aws, instance.id, target.signal);
    return !(now && isAlive(now)) && (await readRecord(runs.store, runs.keys, planned.id)) === null;
  }

  /** Makes an instance for a run, or finds the one that was made, and waits until it can be used. */
  private async makeReady(run: string, deadline?: number): Promise<InstanceContext> {
    const { target, runs } = this;
    const { configuration, context, project, printer, signal } = target;
    target.answerSignal(() => `Interrupted while an instance was being launched. ${this.endIt}`);
    const up = ([instance]: EnsuredInstance[]) => {
      // Known before it is ready: it may end until then.
      this.instance = instance;
      target.answerSignal(
        () =>
          `Interrupted: ${instance.id} is running. Run the same command to use it; otherwise it shuts itself down. ${this.endIt}`,
      );
    };
    [this.instance] = await launchForRun(runs, this.launchSpec, { id: run, deadline }, up, signal);
    const { id } = this.instance;
    const at = { instance: { id, startupTimeout: configuration.instance.startupTimeout }, instances: [{ id }] };
    try {
      const instanceContext = await createInstanceContext(
        { ...configuration, ...at },
        project,
        context.root,
        printer,
        'store',
      );
      this.instanceContexts.push(instanceContext);
      return instanceContext;
    } catch (error) {
      await terminateUnused(runs, [this.instance], run, signal);
      throw error;
    }
  }

  /** Starts the training there, or resumes it. */
  private async launch(instanceContext: InstanceContext, nextAttempt?: NextAttempt): Promise<StartedRun> {
    const { target, runs, scanned, options, planned } = this;
    const { context, workspace, printer, signal } = target;
    let sent = false;
    try {
      const started = await startRun(instanceContext, workspace, planned, {
        signal,
        scanned,
        nextAttempt,
        rerun: options.rerun ?? false,
        force: options.force,
        storeFirst: true,
        onSend: () => {
          sent = true;
          const status = targetCommand(context, 'remote-status');
          target.answerSignal(
            () => `Interrupted while the training was being started. To see whether it is active: ${status}`,
          );
        },
      });
      if (!sent && started.run.instance !== instanceContext.instance)
        await terminateUnused(runs, [this.instance!], planned.id, signal, 'which has run on another instance');
      return started;
    } catch (error) {
      const gone = error instanceof Problem && error.code === 'INSTANCE_GONE';
      if (!sent) await terminateUnused(runs, [this.instance!], nextAttempt?.id ?? planned.id, signal);
      else if (!gone)
        printer.warn(
          `${instanceContext.instance} was left running; it shuts itself down if no training starts on it. ${this.endIt}`,
        );
      throw error;
    }
  }

  private get endIt(): string {
    return `To terminate it now: ${targetCommand(this.target.context, 'remote-down')}`;
  }
}
