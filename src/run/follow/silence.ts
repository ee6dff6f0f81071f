import type { RunFacts, RunReport } from '../../command/plan';
import type { RunContext } from '../../context/types';
import { Problem } from '../../report/problem';
import { nxRun } from '../../report/shell-words';
import { formatDuration } from '../../report/units';
import { steadyNow } from '../../system/moment';
import { HEARTBEAT_TIMEOUT_MS, UNREACHABLE_TIMEOUT_MS } from '../record/liveness';

/**
 * How long nothing has been heard of a run whose instance EC2 calls running: its record is not written, and the instance
 * does not answer, or only says that the run has not ended.
 */
export class Silence {
  private since: number | undefined;
  /** How often the reporter had written the record, by the instance's word, and since when that has not changed, ms. */
  private beat: { count: number | undefined; since: number } = { count: undefined, since: 0 };

  constructor(private readonly context: RunContext) {}

  /** Its record or its log has changed, or it is known why its record has not. */
  end(run: RunFacts): void {
    if (this.since !== undefined) this.context.printer.line(`${run.id} is heard of again.`);
    this.since = undefined;
  }

  /**
   * The instance answered. While the store can't be told, the run's reporter still counts what it would have written; if
   * it hangs with the run, that the run has not ended is all that the instance says.
   * @param moved the run has ended, or its log has grown. @throws Problem `RUN_SILENT` as `continue` does.
   */
  answered(run: RunFacts, moved: boolean, report: RunReport | null): void {
    const count = report?.heartbeat;
    if (moved || count === undefined || count !== this.beat.count) this.beat = { count, since: steadyNow() };
    if (steadyNow() - this.beat.since <= HEARTBEAT_TIMEOUT_MS) this.end(run);
    else this.continue(run, null);
  }

  /**
   * @param why the instance did not answer; null where it did.
   * @throws Problem `RUN_SILENT` if that has lasted too long: the run may be over, or hang, without any program that can say so.
   */
  continue(run: RunFacts, why: Problem | null): void {
    const { printer } = this.context;
    if (why) printer.detail(`${run.instance} does not answer: ${why.message.split('\n')[0]}`);
    const what = why
      ? 'neither writes to the store nor answers'
      : "answers, but the run's own programs write neither a log nor to the store";
    if (this.since === undefined) {
      this.since = steadyNow();
      printer.line(
        `Nothing is heard of ${run.id}: ${run.instance} is running, as EC2 says, but ${what}. Waiting for it for ${formatDuration(UNREACHABLE_TIMEOUT_MS)}.`,
      );
    }
    const silent = steadyNow() - this.since;
    if (silent >= UNREACHABLE_TIMEOUT_MS) throw this.problem(run, what, silent);
  }

  private problem({ id, instance }: RunFacts, what: string, silent: number): Problem {
    return new Problem(
      'RUN_SILENT',
      `Nothing was heard of ${id} for ${formatDuration(silent)}: ${instance} is running, as EC2 says, but ${what}. Its processes may hang, or its processes, its network or its SSM agent may be down.`,
      {
        next: `${endOfInstance(this.context, instance)} Then the same command finds the run lost, and resumes it or trains again.`,
      },
    );
  }
}

/** What to do with an instance on which something hangs. */
export function endOfInstance({ configuration, project }: RunContext, instance: string): string {
  const how =
    'launchSpec' in configuration.instance
      ? `To terminate it: ${nxRun(project, 'remote-down')}`
      : 'To end what hangs on it, reboot it in EC2.';
  return `${instance} costs money until it ends. ${how}`;
}
