import type { ExecutorContext } from '@nx/devkit';
import type { RunFacts } from '../../command/plan';
import { cancelRun } from '../../run/stop/cancel';
import { cancelUnverified } from '../../run/stop/cancel-unverified';
import { isUnreadable } from '../../run/record/record';
import { terminateJoining } from '../../run/start/joining-nodes';
import { reportKept } from '../../run/start/run-instance';
import { resolveRun } from '../../run/find/find-run';
import { cancelUntold, cancelWithFleet } from '../../run/fleet/cancel-fleet';
import { describeOutcome } from '../../run/status/outcome';
import { createRunContext } from '../../context/context';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { runTarget } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';
import { isRunId } from '../../schema/ids';

/** Stops a run: SIGTERM to all its processes, a grace, SIGKILL; waits until it has ended. */
export default function remoteCancel(
  given: ExecutorOptions<'remote-cancel'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-cancel', given, context, false, async (target, options) => {
    const { configuration, printer, project, signal } = target;
    const runContext = createRunContext(configuration, project, context.root, printer);
    const tell = (run: RunFacts, already: boolean) => {
      printer.line(
        already ? `${run.id} had ended already: it ${describeOutcome(run)}` : `${run.id} ${describeOutcome(run)}`,
      );
      return { run: run.id, instance: run.instance, outcome: run.outcome, already };
    };
    try {
      const force = options.force ?? false;
      const found = await resolveRun(runContext, options.run).catch(async (error: unknown) => {
        if (!isRunId(options.run ?? '')) throw error;
        if (await cancelUntold(runContext, options.run!, force, error)) return null;
        const isUntold = isUnreadable(error) || (error instanceof Problem && error.code === 'NO_RUN');
        const cancelled = isUntold && (await cancelUnverified(runContext, options.run!, force, signal));
        if (!cancelled) throw error;
        return cancelled;
      });
      if (!found) {
        printer.line(`${options.run} has no instance; its fleet was deleted.`);
        return { run: options.run, instance: null, outcome: 'cancelled', already: false };
      }
      if (!('record' in found)) return tell(found.run, found.already);
      const { record } = found;
      if (record.caller !== (await runContext.caller()) && !force) {
        throw new Problem('NOT_OWNER', `${record.id} is a run of ${sanitizeForTerminal(record.caller)}.`, {
          next: 'To stop it anyway, add --force.',
        });
      }
      target.answerSignal(() => `Interrupted. ${record.id} is still being stopped.`);
      const between = await cancelWithFleet(runContext, found, force);
      const { run, already } = between ? { run: between, already: false } : await cancelRun(runContext, record, signal);
      const told = tell(run, already);
      // What has a fleet ends by itself, and deletes it: terminated, it would be replaced.
      if (!already && 'nodes' in run && record.metadata.recovery !== 'fleet')
        await terminateJoining(runContext, run, signal);
      if ('metadata' in run) await reportKept(runContext, run, signal);
      return told;
    } finally {
      runContext.close();
    }
  });
}
