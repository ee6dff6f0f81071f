import type { RunFacts } from '../../command/plan';
import type { RunContext } from '../../context/types';
import { Problem } from '../../report/problem';
import { nxRun } from '../../report/shell-words';
import { formatDuration } from '../../report/units';
import { steadyNow } from '../../system/moment';
import { UNREACHABLE_TIMEOUT_MS } from '../record/liveness';

/** How long nothing has been heard of a run whose instance EC2 calls running: it neither writes its record nor answers. */
export class Silence {
  private since: number | undefined;

  constructor(private readonly context: RunContext) {}

  /** Its record has changed, or its instance has answered. */
  end(run: RunFacts): void {
    if (this.since !== undefined) this.context.printer.line(`${run.id} is heard of again.`);
    this.since = undefined;
  }

  /**
   * The instance did not answer.
   * @throws Problem `RUN_SILENT` if that has lasted too long: the run may be over without any program that can say so.
   */
  continue(run: RunFacts, why: Problem): void {
    const { printer } = this.context;
    const [reason] = why.message.split('\n');
    printer.detail(`${run.instance} does not answer: ${reason}`);
    if (this.since === undefined) {
      this.since = steadyNow();
      printer.line(
        `Nothing is heard of ${run.id}: ${run.instance} is running, as EC2 says, but neither writes to the store nor answers. Waiting for it for ${formatDuration(UNREACHABLE_TIMEOUT_MS)}.`,
      );
    }
    const silent = steadyNow() - this.since;
    if (silent >= UNREACHABLE_TIMEOUT_MS) throw this.problem(run, silent);
  }

  private problem({ id, instance }: RunFacts, silent: number): Problem {
    const { configuration, project } = this.context;
    const end =
      'launchSpec' in configuration.instance
        ? `To terminate it: ${nxRun(project, 'remote-down')}`
        : 'To end what hangs on it, reboot it in EC2.';
    return new Problem(
      'RUN_SILENT',
      `Nothing was heard of ${id} for ${formatDuration(silent)}: ${instance} neither writes to the store nor answers, though EC2 says that it is running. Its processes, its network or its SSM agent may be down.`,
      {
        next: `${instance} costs money until it ends. ${end} Then the same command finds the run lost, and resumes it or trains again.`,
      },
    );
  }
}
