import { createInstanceContext, createRunContext } from '../../context/context';
import type { InstanceContext, RunContext } from '../../context/types';
import type { EnsuredInstance } from '../../instance/launch/ensure-instance';
import { assertVolume } from '../../project/assert-ready';
import { scanProject, type Scanned } from '../../project/scan-project';
import { Problem } from '../../report/problem';
import { formatCount } from '../../report/units';
import { findDuplicateRun } from '../../run/find/find-run';
import { runsForKey } from '../../run/find/run-key-index';
import { describeIdleEnd } from '../../run/pool/describe-pool';
import { reserveMember, type PoolSpec, type ReservedMember } from '../../run/pool/reserve-member';
import { readRecord } from '../../run/record/record';
import type { PlannedRun } from '../../run/start/plan-run';
import { ensureProjectInstances, findEnded } from '../../run/start/run-instance';
import { startRun, type StartedRun } from '../../run/start/start-run';
import { targetCommand } from '../../workspace/invocation';
import type { Target } from '../lib/run-target';
import { planTraining } from './plan-training';
import type { StartOptions } from './types';

/**
 * Starts a training on a member of a pool, or finds the same training. A member that is launched for it stays for other
 * runs until it is idle.
 */
export async function startInPool(
  target: Target,
  launchSpec: PoolSpec,
  options: StartOptions,
  detached: boolean,
  then: (runContext: RunContext, started: StartedRun) => Promise<object>,
): Promise<object> {
  const { configuration, context, printer, project } = target;
  const runs = createRunContext(configuration, project, context.root, printer);
  const start = new PoolStart(target, launchSpec, runs, options);
  try {
    return await then(runs, await start.start(detached));
  } finally {
    start.close();
    runs.close();
  }
}

/** A training, and the members on which it was tried. */
class PoolStart {
  private scanned!: Scanned;
  private planned!: PlannedRun;
  private member: EnsuredInstance | undefined;
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
    assertVolume(this.launchSpec, this.planned.needs(), runs.printer);
    // A run that was started a moment ago may have no record yet.
    return this.place(same ? await runsForKey(runs, key) : []);
  }

  /** Starts it on one member after the other, until one has it: a member may end just then, or EC2 have no capacity. */
  private async place(same: readonly string[]): Promise<StartedRun> {
    const { signal, configuration } = this.target;
    const { resources, priority } = configuration.train;
    const claim = { run: this.planned.id, ...resources, priority };
    let refused: unknown;
    for (;;) {
      const reserved = await reserveMember(this.runs, this.launchSpec, claim, {
        mayLaunch: refused === undefined,
        same,
        signal,
      }).catch((error: unknown) => {
        throw refused ?? error;
      });
      try {
        return await this.startOn(reserved);
      } catch (error) {
        if (reserved.how === 'launch' && isNoCapacity(error)) refused = this.reportRefused(error);
        else if (!(await this.hasEnded())) throw error;
      } finally {
        await reserved.reservation.release();
      }
    }
  }

  private async startOn({ slot, how, before, taken }: ReservedMember): Promise<StartedRun> {
    const { target, launchSpec, runs } = this;
    const { configuration, context, project, printer, signal } = target;
    const { name, size } = launchSpec.pool;
    this.member = undefined;
    target.answerSignal(() => `Interrupted before the training was started. ${this.idle}`);
    if (how === 'launch') printer.line(`Launching member ${taken} of ${size} of the pool ${name}.`);
    const purpose = { by: 'remote-up', slot, run: this.planned.id } as const;
    const ensured = await ensureProjectInstances(runs, launchSpec, purpose, signal, ([member]) => {
      this.member = member;
    });
    const [{ id }] = ensured;
    [this.member] = ensured;
    if (how === 'queue') {
      const turn = before === 0 ? 'as the next one' : `behind ${formatCount(before, 'run')}`;
      printer.line(`No member of the pool ${name} has room (${taken} of ${size}): the run waits on ${id}, ${turn}.`);
    }
    const at = { instance: { id, startupTimeout: configuration.instance.startupTimeout }, instances: [{ id }] };
    const instanceContext = await createInstanceContext({ ...configuration, ...at }, project, context.root, printer);
    this.instanceContexts.push(instanceContext);
    return startRun(instanceContext, target.workspace, this.planned, {
      signal,
      scanned: this.scanned,
      rerun: this.options.rerun ?? false,
      force: this.options.force,
      storeFirst: true,
      onSend: () => {
        const status = targetCommand(context, 'remote-status');
        target.answerSignal(
          () => `Interrupted while the training was being started. To see whether it is active: ${status}`,
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
  private async hasEnded(): Promise<boolean> {
    const { store, keys, printer } = this.runs;
    const { signal } = this.target;
    if (signal.aborted || !this.member || (await readRecord(store, keys, this.planned.id)) !== null) return false;
    const ended = await findEnded(this.runs, [this.member], signal);
    if (ended) printer.line(`${ended} ended before the training started there; choosing another member.`);
    return ended !== null;
  }

  private get idle(): string {
    return `${describeIdleEnd(this.launchSpec)} To end those that nothing runs on now: ${targetCommand(this.target.context, 'remote-down')}`;
  }
}

function isNoCapacity(error: unknown): boolean {
  return error instanceof Problem && error.code === 'NO_CAPACITY';
}
