import type { LaunchSpec } from '../../config/schema/launch-spec';
import type { EnsuredInstance } from '../../instance/launch/ensure-instance';
import type { EnsureOptions } from '../../instance/launch/options';
import { describeInstance } from '../../instance/describe/describe-instances';
import { readTags } from '../../instance/describe/tags';
import { endedToGrow, interruptedInstance } from '../../run/record/interruption';
import { endInterrupted, endNoticed } from '../../run/start/end-interrupted';
import { findDuplicateRun } from '../../run/find/find-run';
import { NodeGrowth } from '../../run/start/grow-nodes';
import { findJoining, terminateJoining } from '../../run/start/joining-nodes';
import { launchOrMove } from '../../run/start/move-nodes';
import { byRank } from '../../run/start/ranks';
import { startRun, type StartedRun } from '../../run/start/start-run';
import { findEnded, terminateUnused, launchForRun, waitForShutdown } from '../../run/start/run-instance';
import { readRecord, type RunRecord } from '../../run/record/record';
import { resumeOrFollow, type Recovery } from '../../run/start/follow-with-recovery';
import { scanProject, type Scanned } from '../../project/scan-project';
import { createRunContext, createInstanceContext } from '../../context/context';
import { assertVolume } from '../../project/assert-ready';
import type { NextAttempt, PlannedRun } from '../../run/start/plan-run';
import { Problem } from '../../report/problem';
import { targetCommand } from '../../workspace/invocation';
import type { RunFacts } from '../../command/plan';
import type { Target } from '../lib/run-target';
import type { RunContext, InstanceContext } from '../../context/types';
import { waitForLeaseExpiry } from '../../run/record/lease';
import { findLackingNodes, startOthers, stopIncomplete, type LackingNodes } from './other-nodes';
import { planTraining } from './plan-training';
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
      waitForShutdown: async (run) => {
        target.answerSignal(() => `Interrupted. The training has ended, and ${run.instance} shuts itself down.`);
        await terminateJoining(runs, run, signal);
        await waitForShutdown(runs, run, start.broughtUp, signal);
      },
    };
    const same = rerun ? null : await findDuplicateRun(runs, key);
    if (same?.found) {
      const { record: run, attached } = same.found;
      const found = { run, attached, settled: Promise.resolve() };
      await start.completeNodes(found);
      return await then(runs, found, made);
    }
    const { interrupted } = same ?? {};
    const next = interrupted && {
      id: interrupted.id,
      attempt: interrupted.attempt + 1,
      heartbeat: interrupted.heartbeat,
    };
    const started = next
      ? await resumeOrFollow(runs, interrupted, target.signal, () => start.continueRun(interrupted, next))
      : await start.begin();
    return await then(runs, started, made);
  } finally {
    start.close();
    runs.close();
  }
}

/** `before`: the nodes of the attempt before. */
type ReadyOptions = Pick<EnsureOptions, 'deadline' | 'min' | 'prefer'> & { before?: LackingNodes['known'] };

/** A training and the instances that it runs on, one after another. */
class LaunchedStart implements Recovery {
  private scanned!: Scanned;
  private planned!: PlannedRun;
  /** In the order of their ranks. */
  private instances: EnsuredInstance[] = [];
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
    this.scanned = await scanProject(target.workspace);
    const launched = { price: () => this.instances[0]?.price ?? null, nodes: () => this.instances.length };
    this.planned = await planTraining(target, runs, this.scanned, { ...options, detached }, launched);
    return this.planned.key(this.scanned.snapshot);
  }

  async begin(): Promise<StartedRun> {
    const { printer, store, keys } = this.runs;
    const { signal } = this.target;
    assertVolume(this.launchSpec, this.planned.needs(), printer);
    for (;;) {
      this.instances = [];
      try {
        return await this.launch(await this.makeReady(this.planned.id));
      } catch (error) {
        const isUnstarted = !signal.aborted && (await readRecord(store, keys, this.planned.id)) === null;
        const ended = isUnstarted ? await findEnded(this.runs, this.instances, signal) : null;
        if (!ended) throw error;
        printer.line(`${ended} ended before the training started there; launching a replacement.`);
      }
    }
  }

  async continueRun(gone: RunRecord, next: NextAttempt): Promise<StartedRun> {
    const { context, signal } = this.target;
    this.target.answerSignal(
      () => `Interrupted before ${gone.id} was resumed. To resume it: ${targetCommand(context, 'remote-train')}`,
    );
    const taken = endedToGrow(gone) ? null : interruptedInstance(gone);
    const before =
      taken === null
        ? await describeInstance(this.runs.aws, gone.instance, signal)
        : await endInterrupted(this.runs, { ...gone, instance: taken }, this.broughtUp, signal);
    const others = gone.nodes.filter(({ instance }) => instance !== taken);
    if (this.launchSpec.spot) await endNoticed(this.runs, gone, others, this.broughtUp, signal);
    const deadline = (before && readTags(before.tags).deadline) ?? this.instances[0]?.deadline ?? undefined;
    const joining = await findJoining(this.runs, gone);
    const known = [...joining, ...gone.nodes];
    // One that is not ready yet joins later.
    const ready = [...others, ...joining.filter(({ isReady }) => isReady)].map(({ instance }) => instance);
    const instanceContext = await launchOrMove(
      this.runs,
      { launchSpec: this.launchSpec, run: gone, own: this.broughtUp },
      (ofNodes = deadline) => this.makeReady(gone.id, { deadline: ofNodes, before: known, prefer: new Set(ready) }),
      signal,
    );
    // Nodes wait for one another for a limited time: none is started before all can be. A node may have had another rank.
    const ranks = known.flatMap(({ rank, instance }) => (this.broughtUp.includes(instance) ? [rank] : []));
    for (const rank of new Set([...this.instances.keys(), ...ranks]))
      await waitForLeaseExpiry(instanceContext, gone.id, signal, rank);
    return this.launch(instanceContext, next);
  }

  async grow(run: RunFacts, signal: AbortSignal): Promise<void> {
    const { workspace, configuration } = this.target;
    if (configuration.train.minNodes === undefined || configuration.train.growAfter === false) return;
    const { runs, launchSpec, scanned, planned, options } = this;
    const { force } = options;
    const open = (id: string) => this.open(id);
    await new NodeGrowth({ context: runs, launchSpec, workspace, scanned, planned, force, open }).grow(run, signal);
  }

  /** The ids of the instances that this command has brought up last. */
  get broughtUp(): string[] {
    return this.instances.map(({ id }) => id);
  }

  close(): void {
    for (const instanceContext of this.instanceContexts) instanceContext.close();
  }

  /**
   * Launches the instances of a run, or finds those that were launched, and waits until they can be used.
   * @param before the nodes of the attempt before. @param min the fewest that are enough.
   * @returns the first one.
   */
  private async makeReady(run: string, { before, min, ...more }: ReadyOptions = {}): Promise<InstanceContext> {
    const { target, runs } = this;
    const { nodes: count, minNodes } = target.configuration.train;
    target.answerSignal(
      () => `Interrupted while ${count === 1 ? 'an instance was' : 'instances were'} being launched. ${this.endIt}`,
    );
    const up = (instances: EnsuredInstance[]) => {
      // Known before they are ready: they may end until then.
      this.instances = byRank(instances, before);
      const ids = this.broughtUp.join(', ');
      const what =
        count === 1
          ? `${ids} is running. Run the same command to use it; otherwise it shuts itself down.`
          : `${ids} are running. Run the same command to use them; otherwise they shut themselves down.`;
      target.answerSignal(() => `Interrupted: ${what} ${this.endIt}`);
    };
    const request = { ...more, id: run, count, min: min ?? minNodes };
    this.instances = byRank(await launchForRun(runs, this.launchSpec, request, up, target.signal), before);
    try {
      return await this.open(this.instances[0].id);
    } catch (error) {
      await this.terminateUnused(run);
      throw error;
    }
  }

  private async open(id: string): Promise<InstanceContext> {
    const { configuration, context, project, printer } = this.target;
    const at = { instance: { id, startupTimeout: configuration.instance.startupTimeout }, instances: [{ id }] };
    const settings = { ...configuration, ...at };
    const instanceContext = await createInstanceContext(settings, project, context.root, printer, 'store');
    this.instanceContexts.push(instanceContext);
    return instanceContext;
  }

  private async terminateUnused(run: string, why?: string): Promise<void> {
    await terminateUnused(this.runs, this.instances, run, this.target.signal, why);
  }

  /** Starts the training there, or resumes it. */
  private async launch(instanceContext: InstanceContext, nextAttempt?: NextAttempt): Promise<StartedRun> {
    const { target, scanned, options, planned } = this;
    const { context, workspace, printer, signal } = target;
    let sent = false;
    let started: StartedRun;
    try {
      started = await startRun(instanceContext, workspace, planned, {
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
        await this.terminateUnused(planned.id, 'which has run on another instance');
    } catch (error) {
      const code = error instanceof Problem ? error.code : '';
      if (!sent || code === 'NOT_RESUMABLE') await this.terminateUnused(nextAttempt?.id ?? planned.id);
      else if (code !== 'INSTANCE_GONE')
        printer.warn(
          `${this.broughtUp.join(', ')} ${this.instances.length === 1 ? 'was left running; it shuts itself' : 'were left running; they shut themselves'} down if no training starts there. ${this.endIt}`,
        );
      throw error;
    }
    try {
      await this.startNodes(instanceContext, started, nextAttempt);
    } catch (error) {
      const { run } = started;
      if (!signal.aborted && (await stopIncomplete(instanceContext, run, signal))) await this.terminateUnused(run.id);
      throw error;
    }
    return started;
  }

  /** Starts the other nodes of a run whose client ended before it had started them all for the current attempt. */
  async completeNodes(started: StartedRun): Promise<void> {
    const lacking = await findLackingNodes(this.runs, started);
    if (!lacking) return;
    const { id, instance, node } = started.run;
    const at = await describeInstance(this.runs.aws, instance, this.target.signal);
    const deadline = (at && readTags(at.tags).deadline) ?? undefined;
    const first = await this.makeReady(id, { deadline, before: lacking.known, min: node?.count });
    await this.startNodes(first, started, lacking.nextAttempt);
  }

  /** Finds the instances of a run that has its first node. @returns that. */
  private findNodes({ id, instance, node }: RunFacts): Promise<InstanceContext> {
    return this.makeReady(id, { before: [{ rank: 0, instance }], min: node?.count });
  }

  /** Starts the nodes beside the first one, which waits for a number of them that can't change. */
  private async startNodes(first: InstanceContext, started: StartedRun, nextAttempt?: NextAttempt): Promise<void> {
    const { target, scanned, planned, options } = this;
    const { run, attached } = started;
    const isWaiting = attached !== 'ended' && run.instance === first.instance && run.nodes.length === 0;
    // Another command may have started it, which had found more instances, or fewer.
    const count = (isWaiting && run.node?.count) || this.instances.length;
    const found = this.instances.length < count ? await this.findNodes(run) : first;
    await terminateUnused(this.runs, this.instances.splice(count), run.id, target.signal, 'which has all its nodes');
    const request = { target, instances: this.broughtUp, scanned, planned, force: options.force, nextAttempt };
    await startOthers(found, started, request);
  }

  private get endIt(): string {
    const { context, configuration } = this.target;
    return `To terminate ${configuration.train.nodes === 1 ? 'it' : 'them'} now: ${targetCommand(context, 'remote-down')}`;
  }
}
