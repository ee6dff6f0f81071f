import type { ExecutorContext } from '@nx/devkit';
import { describeStart } from '../../run/start/describe-start';
import { targetCommand } from '../../workspace/invocation';
import { runTarget } from '../lib/run-target';
import { startTraining } from '../training/start-training';
import type { ExecutorOptions } from '../../config/schema/executor-options';

/** Starts a training and detaches: it continues when this machine is off. Needs the instance's role, because no client renews its presigned form. */
export default function remoteSubmit(
  given: ExecutorOptions<'remote-submit'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-submit', given, context, false, async (target, options) => {
    const { printer } = target;
    return startTraining(target, options, true, async (runContext, { run, attached, settled }) => {
      describeStart(runContext, run, attached);
      printer.line(`  log:       ${targetCommand(context, 'remote-logs')} --run=${run.id}`);
      printer.line(`  status:    ${targetCommand(context, 'remote-status')} --run=${run.id}`);
      printer.line(`  files:     ${targetCommand(context, 'remote-pull')} --run=${run.id}`);
      printer.line(`  stop it:   ${targetCommand(context, 'remote-cancel')} --run=${run.id}`);
      await settled;
      return { run: run.id, instance: run.instance, snapshot: run.snapshot, attached };
    });
  });
}
