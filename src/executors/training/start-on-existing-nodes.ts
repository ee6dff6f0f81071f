import type { NamedInstance } from '../../config/schema/instance-name';
import { createInstanceContext, createRunContext } from '../../context/context';
import type { InstanceContext, RunContext } from '../../context/types';
import { assertTogether, chooseNodes } from '../../instance/launch/existing-nodes';
import { preflight } from '../../instance/ready/preflight';
import { scanProject, type Scanned } from '../../project/scan-project';
import { findDuplicateRun } from '../../run/find/find-run';
import { pollRun } from '../../run/follow/poll-instance';
import { interruptedInstance } from '../../run/record/interruption';
import { waitForLeaseExpiry } from '../../run/record/lease';
import { readNodeRecord, type RunRecord } from '../../run/record/record';
import type { NextAttempt, PlannedRun } from '../../run/start/plan-run';
import { startRun, type StartedRun } from '../../run/start/start-run';
import { targetCommand } from '../../workspace/invocation';
import type { Target } from '../lib/run-target';
import { findLackingNodes, startOthers, stopIncomplete } from './other-nodes';
import { planTraining } from './plan-training';
import type { StartOptions } from './types';

/**
 * Starts a training on several instances that exist, or finds a run of the same training, or resumes one that was
 * interrupted. No instance is launched, stopped or terminated.
 */
export async function startOnExistingNodes(
  target: Target,
  options: StartOptions,
  detached: boolean,
  then: (runContext: RunContext, started: StartedRun) => Promise<object>,
): Promise<object> {
  const { configuration, context, printer, project } = target;
  const runs = createRunContext(configuration, project, context.root, printer);
  let start: ExistingStart | undefined;
  try {
    const scanned = await scanProject(target.workspace);
    const planned = await planTraining(target, runs, scanned, { ...options, detached });
    start = new ExistingStart(target, runs, options, { scanned, planned });
    const same = options.rerun ? null : await findDuplicateRun(runs, planned.key(scanned.snapshot));
    return await then(runs, await start.startOrFind(same));
  } finally {
    start?.close();
    runs.close();
  }
}

class ExistingStart {
  private readonly opened: InstanceContext[] = [];

  constructor(
    private readonly target: Target,
    private readonly runs: RunContext,
    private readonly options: StartOptions,
    private readonly what: { scanned: Scanned; planned: PlannedRun },
  ) {}

  async startOrFind(same: Awaited<ReturnType<typeof findDuplicateRun>> | null): Promise<StartedRun> {
    if (same?.found) {
      const { record: run, attached } = same.found;
      const found: StartedRun = { run, attached, settled: Promise.resolve() };
      const lacking = await findLackingNodes(this.runs, found);
      if (lacking) {
        const nodes = await this.makeReady();
        if (lacking.nextAttempt) await this.settle(nodes, run.id);
        await this.startRest(nodes, found, lacking.nextAttempt);
      }
      return found;
    }
    return same?.interrupted ? this.resume(same.interrupted) : this.begin(await this.makeReady());
  }

  close(): void {
    for (const each of this.opened) each.close();
  }

  private async resume(run: RunRecord): Promise<StartedRun> {
    const { id, attempt, heartbeat } = run;
    this.runs.printer.line(
      `${id} was interrupted on ${interruptedInstance(run)}; resuming it (--rerun starts a new run).`,
    );
    const nodes = await this.makeReady();
    await this.settle(nodes, id);
    // Nodes wait for one another for a limited time: none is started before all can be.
    for (const rank of nodes.instances.keys()) await waitForLeaseExpiry(nodes.first, id, this.target.signal, rank);
    return this.begin(nodes, { id, attempt: attempt + 1, heartbeat });
  }

  /** Has instances that were restarted record that the attempt there has ended: they would not take part in another one. */
  private async settle({ instances, first }: ReadyNodes, run: string): Promise<void> {
    const { signal } = this.target;
    for (const rank of instances.keys()) {
      const read = await readNodeRecord(first.store, first.keys, run, rank);
      if (!read || read.record.state === 'ended' || !instances.includes(read.record.instance)) continue;
      const { instance } = read.record;
      await pollRun(this.runs, { id: run, instance }, 0, signal).catch((error: Error) => {
        signal.throwIfAborted();
        first.printer.detail(`${instance} did not report the state of ${run}: ${error.message}`);
      });
    }
  }

  /** Chooses the instances, and checks that all can be used, before anything is sent to one. */
  private async makeReady(): Promise<ReadyNodes> {
    const { aws, store, configuration, printer, project, workspaceRoot } = this.runs;
    const { signal } = this.target;
    const { train, instance } = configuration;
    const names = configuration.instances as NamedInstance[];
    const nodes = await chooseNodes(aws, names, train.nodes);
    const instances = nodes.map(({ id }) => id);
    const { startupTimeout } = instance;
    const onWait = (what: string) => printer.line(what);
    await Promise.all([
      preflight({ aws, store, instances: instances.map((id) => ({ id })), wait: startupTimeout, onWait, signal }),
      assertTogether(aws, nodes, { isByGpu: train.launcher?.processes === 'gpu', printer, signal }),
    ]);
    const [id] = instances;
    const at = { instance: { id, startupTimeout }, instances: [{ id }] };
    const first = await createInstanceContext({ ...configuration, ...at }, project, workspaceRoot, printer, 'store');
    this.opened.push(first);
    return { instances, first };
  }

  private async begin(nodes: ReadyNodes, nextAttempt?: NextAttempt): Promise<StartedRun> {
    const { target, options, what } = this;
    const { context, workspace, signal } = target;
    const status = targetCommand(context, 'remote-status');
    const started = await startRun(nodes.first, workspace, what.planned, {
      signal,
      scanned: what.scanned,
      nextAttempt,
      rerun: options.rerun ?? false,
      force: options.force,
      // The other nodes take it from there.
      storeFirst: true,
      onSend: () =>
        target.answerSignal(
          () => `Interrupted while the training was being started. To see whether it is active: ${status}`,
        ),
    });
    try {
      await this.startRest(nodes, started, nextAttempt);
    } catch (error) {
      if (!signal.aborted) await stopIncomplete(nodes.first, started.run, signal);
      throw error;
    }
    return started;
  }

  private startRest({ first, instances }: ReadyNodes, started: StartedRun, nextAttempt?: NextAttempt): Promise<void> {
    const { target, options, what } = this;
    return startOthers(first, started, { target, instances, ...what, force: options.force, nextAttempt });
  }
}

/** The nodes of a run, by their ranks. */
interface ReadyNodes {
  instances: string[];
  first: InstanceContext;
}
