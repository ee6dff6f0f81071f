import type { HoldReply, RunFacts } from '../../command/plan';
import type { PoolSpec } from '../../config/schema/launch-spec';
import type { RunContext } from '../../context/types';
import { sleep } from '../../system/sleep';
import { readRecord, type RunRecord } from '../record/record';
import { PoolChoice, type ReservedMember } from './reserve-member';

/** When it is looked whether a run that waits can move, ms: at first, and later. */
export const MOVE = { first: 10_000, poll: 30_000 };
/** A run lets another one that comes before it, and may have no client, go first for so many looks; and all, at most. */
const LOOKS_FOR_ONE = 2;
const MAX_LOOKS = 8;
/** No member is launched for it for so long after EC2 has refused to launch one, ms. */
const LAUNCH_PAUSE_MS = 10 * 60_000;

/** The member that holds a run, and the record after which it does. */
export interface HeldRun {
  instance: string;
  attempt: number;
  heartbeat: number;
}

export interface MoveOptions {
  context: RunContext;
  launchSpec: PoolSpec;
  /** Makes the member ready, with the files of the run. @returns its instance. */
  prepare(reserved: ReservedMember, run: RunRecord, signal: AbortSignal): Promise<string>;
  /** Starts the run on the member that was prepared. */
  start(run: RunRecord, held: HeldRun, signal: AbortSignal): Promise<RunFacts>;
  /** Whether an error is that EC2 launches no member now. */
  isRefusedLaunch(error: unknown): boolean;
}

/** Moves a run that waits in the queue of one member of a pool to another one that has room. */
export class WaitingRunMove {
  private deferred = 0;
  private refusedUntil = 0;

  constructor(private readonly of: MoveOptions) {}

  /** Serves a run until it has its turn, on whichever member. @param onMoved it has another one. */
  async serve(id: string, signal: AbortSignal, onMoved: (run: RunFacts) => void): Promise<void> {
    const { context } = this.of;
    for (let wait = MOVE.first; ; wait = MOVE.poll) {
      // Clients that began to wait together do not ask together.
      await sleep(wait * (0.75 + Math.random() / 2), signal);
      // The run is followed by somebody else, who reports what keeps its record from being read.
      const read = await readRecord(context.store, context.keys, id).catch(() => null);
      signal.throwIfAborted();
      if (!read) continue;
      const { record } = read;
      if (record.state === 'preparing') continue;
      // A form does not tell for sure which instance has the run.
      if (record.state !== 'queued' || record.access !== 'role') return;
      try {
        const moved = await this.move(record, signal);
        if (moved) onMoved(moved);
      } catch (error) {
        signal.throwIfAborted();
        if (this.of.isRefusedLaunch(error)) this.refusedUntil = Date.now() + LAUNCH_PAUSE_MS;
        context.printer.detail(`${id} does not move to another member: ${(error as Error).message}`);
      }
    }
  }

  private async move(run: RunRecord, signal: AbortSignal): Promise<RunFacts | null> {
    const { context, launchSpec, prepare, start } = this.of;
    const claim = { run: run.id, ...run.resources, priority: context.configuration.train.priority };
    const choice = new PoolChoice(context, launchSpec, claim, signal);
    const mayLaunch = Date.now() >= this.refusedUntil;
    const found = await choice.reserveElsewhere(run.instance, {
      mayLaunch,
      defer: this.deferred < MAX_LOOKS ? Math.floor(this.deferred / LOOKS_FOR_ONE) : Infinity,
    });
    if (found === 'deferred') this.deferred++;
    if (found === null) this.deferred = 0;
    if (found === null || found === 'deferred') return null;
    try {
      const instance = await prepare(found, run, signal);
      const held = await this.hold(run, signal);
      if (!held) return null;
      context.printer.line(
        `${instance}, of the pool ${launchSpec.pool.name}, has room for ${run.id}: moving it there.`,
      );
      return await start(run, held, signal);
    } finally {
      await found.reservation.release();
    }
  }

  /** Has the member where it waits hold it. @returns null: it has its turn there by now, or another client moves it. */
  private async hold({ id, instance, attempt }: RunRecord, signal: AbortSignal): Promise<HeldRun | null> {
    const { held } = await this.of.context
      .at(instance)
      .remote.send<HoldReply>({ op: 'hold', run: id, attempt }, { comment: `nx-ec2: hold ${id}`, signal });
    return held === null ? null : { instance, attempt, heartbeat: held };
  }
}
