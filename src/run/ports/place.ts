import type { InstanceContext, RunContext } from '../../context/types';
import { Problem } from '../../report/problem';
import { awaitsReplacement, isResumable } from '../record/interruption';
import { HEARTBEAT_TIMEOUT_MS, lost } from '../record/liveness';
import { RecordWatch, type RunRecord } from '../record/record-poller';

/** Where the ports are: on an instance, on none for now, or on none any more. */
export type PlaceState = { instance: string } | { waiting: string } | { over: string };

export interface Place {
  context: RunContext;
  /** Where it was found; null: nowhere yet. */
  instance: string | null;
  /** The run that it is meant for; null: what an instance has. */
  runId: string | null;
  /** The name of the project's files on the instance. */
  tree: string;
  /**
   * Where it is now.
   * @param doubted a session broke: the instance may be gone.
   * @throws Problem INSTANCE_GONE of an instance that is no run's.
   */
  look(doubted: boolean, signal: AbortSignal): Promise<PlaceState>;
}

/** One instance, while it exists. */
export class InstancePlace implements Place {
  readonly instance: string;
  readonly runId = null;
  readonly tree: string;

  constructor(readonly context: InstanceContext) {
    this.instance = context.instance;
    this.tree = context.tree;
  }

  async look(): Promise<PlaceState> {
    await this.context.assertInstanceExists();
    return { instance: this.instance };
  }
}

/** The instance of a run, or of one of its nodes: another one after a recovery. */
export class RunPlace implements Place {
  readonly instance: string;
  readonly runId: string;
  readonly tree = '';
  private told: boolean;
  private readonly watch: RecordWatch;

  constructor(
    readonly context: RunContext,
    private readonly run: RunRecord,
  ) {
    this.instance = run.instance;
    this.runId = run.id;
    this.told = run.state === 'ended';
    this.watch = new RecordWatch(context.store, context.keys, run.id, undefined, run.node?.rank);
  }

  async look(doubted: boolean, signal: AbortSignal): Promise<PlaceState> {
    const record = (await this.watch.look(signal)) ?? this.run;
    const { instance } = record;
    this.tellEnd(record);
    if (!doubted && record.state !== 'ended' && this.watch.age < HEARTBEAT_TIMEOUT_MS) return { instance };
    try {
      await this.context.at(instance).assertInstanceExists();
      return { instance };
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'INSTANCE_GONE') throw error;
      const gone = lost(record, error, this.watch.age);
      if (awaitsReplacement(gone) || isResumable(gone))
        return { waiting: `${instance} is gone; waiting for ${record.id} to continue on another instance.` };
      return { over: `${record.id} has ended, and its instance ${instance} is gone.` };
    }
  }

  /** The ports work on, as long as the instance does. */
  private tellEnd({ id, state, outcome }: RunRecord): void {
    if (this.told || state !== 'ended') return;
    this.told = true;
    this.context.printer.line(`${id} has ended: ${outcome}.`);
  }
}
