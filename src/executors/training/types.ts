import type { Recovery } from '../../run/start/follow-with-recovery';
import type { RunRecord } from '../../run/record/record';

/** Options of the targets that start a training. */
export interface StartOptions {
  rerun?: boolean;
  resumeFrom?: string;
  dryRun?: boolean;
  force?: boolean;
}

/** What a command does about the instance that it launched for a run. */
export interface RunInstanceLifecycle {
  /** How the run continues when its instance is taken away; null: this command does not continue it. */
  recovery: Recovery | null;
  /** Says what becomes of its instance, and waits for it. */
  waitForShutdown(run: RunRecord): Promise<void>;
}
