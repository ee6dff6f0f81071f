import type { ExecutorContext } from '@nx/devkit';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { describeOutcome, assertSucceeded } from '../../run/status/outcome';
import { createRunContext } from '../../context/context';
import { isEnded } from '../../run/record/liveness';
import { showLogs } from '../../run/status/show-logs';
import { runTarget } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';

/** Shows a run's log, from its start or a later point, and follows it to its end; ends as the run ended. */
export default function remoteLogs(
  given: ExecutorOptions<'remote-logs'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-logs', given, context, false, async (target, options) => {
    const { configuration, printer, project, signal } = target;
    target.answerSignal(() => 'Interrupted. The run was not stopped.');
    const runContext = createRunContext(configuration, project, context.root, printer);
    try {
      const run = await showLogs(runContext, options, signal);
      if (!isEnded(run)) {
        printer.detail(`${run.id} continues.`);
      } else {
        assertSucceeded(run, project);
        for (const warning of run.warnings ?? []) printer.warn(sanitizeForTerminal(warning));
        printer.line(`The training ${run.id} ${describeOutcome(run)}`);
      }
      return { run: run.id, instance: run.instance, outcome: run.outcome, exitCode: run.exitCode };
    } finally {
      runContext.close();
    }
  });
}
