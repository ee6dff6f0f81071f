import type { ExecutorContext } from '@nx/devkit';
import { describeStart } from '../../run/training';
import { commandOf } from '../../workspace/invocation';
import { runTarget } from '../run-target';
import { startTraining } from '../start-training';
import type { RemoteSubmitExecutorSchema } from './schema';

/** Starts a training and leaves it: it goes on with this machine off. Needs the instance's role, since nobody renews a form. */
export default function remoteSubmit(
  given: RemoteSubmitExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-submit', given, context, false, async (target, options) => {
    const { reporter } = target;
    return startTraining(target, options, true, async (session, { run, attached, settled }) => {
      describeStart(session, run, attached);
      reporter.line(`  its log:   ${commandOf(context, 'remote-logs')} --run=${run.id}`);
      reporter.line(`  how it is: ${commandOf(context, 'remote-status')} --run=${run.id}`);
      reporter.line(`  its files: ${commandOf(context, 'remote-pull')} --run=${run.id}`);
      reporter.line(`  stop it:   ${commandOf(context, 'remote-cancel')} --run=${run.id}`);
      await settled;
      return { run: run.id, instance: run.instance, snapshot: run.snapshot, attached };
    });
  });
}
