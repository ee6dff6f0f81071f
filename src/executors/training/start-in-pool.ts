import type { PoolSpec } from '../../config/schema/launch-spec';
import { createInstanceContext, createRunContext } from '../../context/context';
import type { InstanceContext, RunContext } from '../../context/types';
import type { EnsuredInstance } from '../../instance/launch/ensure-instance';
import { assertVolume } from '../../project/assert-ready';
import { scanProject, type Scanned } from '../../project/scan-project';
import { push } from '../../project/sync-project';
import { Problem } from '../../report/problem';
import { formatCount } from '../../report/units';
import { withoutLines } from '../../report/without-lines';
import type { RunFacts } from '../../command/plan';
import { findDuplicateRun } from '../../run/find/find-run';
import { runsForKey } from '../../run/find/run-key-index';
import { describeIdleEnd } from '../../run/pool/describe-pool';
import { WaitingRunMove } from '../../run/pool/move-waiting';
import { PoolChoice, type ReservedMember } from '../../run/pool/reserve-member';
import { interruptedInstance } from '../../run/record/interruption';
import { waitForLeaseExpiry } from '../../run/record/lease';
import { readRecord, type RunRecord } from '../../run/record/record';
import type { Recovery } from '../../run/start/follow-with-recovery';
import type { NextAttempt, PlannedRun } from '../../run/start/plan-run';
import { ensureProjectInstances, findEnded } from '../../run/start/run-instance';
import { startRun, type StartedRun } from '../../run/start/start-run';
import { targetCommand } from '../../workspace/invocation';
import type { Target } from '../lib/run-target';
import { planTraining } from './plan-training';
import type { RunInstanceLifecycle, StartOptions } from './types';

/**
 * Starts a training on a member of a pool, or finds the same training, or resumes it. A member that is launched for it
 * stays for other runs until it is idle.
 */
export async function startInPool(
  target: Target,
  launchSpec: PoolSpec,
  options: StartOptions,
  detached: boolean,
  then: (runContext: RunContext, started: StartedRun, made: RunInstanceLifecycle) => Promise<object>,
): Promise<object> {
  const { configuration, context, printer, project } = target;
  const runs = createRunContext(configuration, project, context.root, printer);
  const start = new PoolStart(target, launchSpec, runs, options);
  try {
    return await then(runs, await start.start(detached), { recovery: start, waitForShutdown: () => Promise.resolve() });
  } finally {
    start.close();
    runs.close();
  }
}

/** A training, and the members on which it was tried. */
class PoolStart implements Recovery {
  private scanned!: Scanned;
  private planned!: PlannedRun;
  private member: EnsuredInstance | undefined;
  /** The run that is continued. */
  private resumes: string | undefined;
  private readonly instanceContexts: InstanceContext[] = [];

  constructor(
    private readonly target: Target,
    private readonly launchSpec: PoolSpec,
    private readonly runs: RunContext,
    private readonly options: StartOptions,
  ) {}

  close(): void {
    for (const each of this.instanceContexts) each.close();
  }

  async start(detached: boolean): Promise<StartedRun> {
    const { target, runs, options } = this;
    this.scanned = await scanProject(target.workspace);
    const launched = { price: () => this.member?.price ?? null, nodes: () => 1 };
    this.planned = await planTraining(target, runs, this.scanned, { ...options, detached }, launched);
    const key = this.planned.key(this.scanned.snapshot);
    const same = options.rerun ? null : await findDuplicateRun(runs, key);
    if (same?.found) {
      const { record: run, attached } = same.found;
      return { run, attached, settled: Promise.resolve() };
    }
    if (same?.interrupted) return this.resume(same.interrupted);
    assertVolume(this.launchSpec, this.planned.needs(), runs.printer);
    // A run that was started a moment ago may have no record yet.
    return this.place(same ? await runsForKey(runs, key) : []);
  }

  /** Starts its next attempt on another member; a command that was killed may have done so. */
  continueRun({ id }: RunRecord, next: NextAttempt): Promise<StartedRun> {
    this.resumes = id;
    return this.place([id], next);
  }

  private resume(run: RunRecord): Promise<StartedRun> {
    const { id, attempt, heartbeat } = run;
    const why = `was interrupted on ${interruptedInstance(run)}`;
    this.runs.printer.line(`${id} ${why}; resuming it (--rerun starts a new run).`);
    return this.continueRun(run, { id, attempt: attempt + 1, heartbeat });
  }

  /** Starts it on one member after the other, until one has it: a member may end just then, or EC2 refuse to launch one. */
  private async place(same: readonly string[], next?: NextAttempt): Promise<StartedRun> {
    const choice = this.choice(next?.id ?? this.planned.id);
    let refused: unknown;
    for (;;) {
      const reserved = await choice.reserve({ mayLaunch: refused === undefined, same }).catch((error: unknown) => {
        throw refused ?? error;
      });
      try {
        return await this.startOn(reserved, next);
      } catch (error) {
        if (refused === undefined && isRefusedLaunch(error)) refused = this.reportRefused(error);
        else if (!(await this.hasEnded(next))) throw error;
      } finally {
        await reserved.reservation.release();
      }
    }
  }

  private choice(run: string): PoolChoice {
    const { signal, configuration } = this.target;
    const { resources, priority } = configuration.train;
    return new PoolChoice(this.runs, this.launchSpec, { run, ...resources, priority }, signal);
  }

  /** Follows a run that waits: starts its next attempt on another member as soon as that has room. */
  move(run: RunFacts, signal: AbortSignal, onMoved: (run: RunFacts) => void): Promise<void> {
    const quiet = { ...this.runs, printer: withoutLines(this.runs.printer) };
    let there: InstanceContext | undefined;
    const { scanned, planned, launchSpec, target, runs: context } = this;
    const { workspace } = target;
    const { force } = this.options;
    const moving = new WaitingRunMove({
      context,
      launchSpec,
      isRefusedLaunch,
      prepare: async ({ slot, how, taken }, { id }) => {
        const { name, size } = launchSpec.pool;
        if (how === 'launch')
          context.printer.line(`Launching member ${taken} of ${size} of the pool ${name}, for ${id}, which waits.`);
        const [member] = await ensureProjectInstances(quiet, launchSpec, { by: 'remote-up', slot, run: id }, signal);
        this.member = member;
        there = { ...(await this.open(member.id)), printer: quiet.printer };
        await push(there, workspace, { signal, force, first: scanned, needs: () => planned.needs() });
        return member.id;
      },
      start: async ({ id, attempt }, waiting) => {
        const nextAttempt = { id, attempt: attempt + 1, heartbeat: waiting.heartbeat, waiting };
        const request = { signal, scanned, nextAttempt, rerun: false, force, storeFirst: true };
        const started = await startRun(there!, workspace, planned, { ...request, onSend: () => undefined });
        await started.settled;
        return started.run;
      },
    });
    return moving.serve(run.id, signal, onMoved);
  }

  private async open(id: string): Promise<InstanceContext> {
    const { configuration, context, project, printer } = this.target;
    const at = { instance: { id, startupTimeout: configuration.instance.startupTimeout }, instances: [{ id }] };
    const instanceContext = await createInstanceContext({ ...configuration, ...at }, project, context.root, printer);
    this.instanceContexts.push(instanceContext);
    return instanceContext;
  }

  private async startOn(
    { slot, how, before, taken, reservation }: ReservedMember,
    next?: NextAttempt,
  ): Promise<StartedRun> {
    const { target, launchSpec, runs } = this;
    const { context, printer, signal } = target;
    const { name, size } = launchSpec.pool;
    this.member = undefined;
    target.answerSignal(() => `Interrupted before the training was ${this.started}. ${this.idle}`);
    if (how === 'launch') printer.line(`Launching member ${taken} of ${size} of the pool ${name}.`);
    const purpose = { by: 'remote-up', slot, run: next?.id ?? this.planned.id } as const;
    const ensured = await ensureProjectInstances(runs, launchSpec, purpose, signal, ([member]) => {
      this.member = member;
    });
    const [{ id }] = ensured;
    [this.member] = ensured;
    if (how === 'queue') {
      const turn = before === 0 ? 'as the next one' : `behind ${formatCount(before, 'run')}`;
      printer.line(`No member of the pool ${name} has room (${taken} of ${size}): the run waits on ${id}, ${turn}.`);
    }
    const instanceContext = await this.open(id);
    if (next) {
      await waitForLeaseExpiry(runs, next.id, signal);
      await reservation.waitForEarlier(signal);
    }
    return startRun(instanceContext, target.workspace, this.planned, {
      signal,
      scanned: this.scanned,
      nextAttempt: next,
      rerun: this.options.rerun ?? false,
      force: this.options.force,
      storeFirst: true,
      onSend: () => {
        const status = targetCommand(context, 'remote-status');
        target.answerSignal(
          () => `Interrupted while the training was being ${this.started}. To see whether it is active: ${status}`,
        );
      },
    });
  }

  private reportRefused(error: unknown): unknown {
    this.runs.printer.line(
      `${(error as Problem).message}\nThe run waits on a member of the pool ${this.launchSpec.pool.name} that exists, if there is one.`,
    );
    return error;
  }

  /** Whether the member has ended before it had the run, for example by its idle timeout. */
  private async hasEnded(next?: NextAttempt): Promise<boolean> {
    const { store, keys, printer } = this.runs;
    const { signal } = this.target;
    if (signal.aborted || !this.member) return false;
    const read = await readRecord(store, keys, next?.id ?? this.planned.id);
    if (read && read.record.attempt >= (next?.attempt ?? 1)) return false;
    const ended = await findEnded(this.runs, [this.member], signal);
    if (ended) printer.line(`${ended} ended before the training started there; choosing another member.`);
    return ended !== null;
  }

  private get started(): string {
    return this.resumes === undefined ? 'started' : 'resumed';
  }

  private get idle(): string {
    const again = this.resumes === undefined ? '' : `Run the same command to resume ${this.resumes}. `;
    return `${again}${describeIdleEnd(this.launchSpec)} To end those that nothing runs on now: ${targetCommand(this.target.context, 'remote-down')}`;
  }
}

/** Whether EC2 launches no instance now, and may launch one when another has ended. */
function isRefusedLaunch(error: unknown): boolean {
  return error instanceof Problem && (error.code === 'NO_CAPACITY' || error.code === 'QUOTA');
}
