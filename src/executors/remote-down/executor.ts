import type { ExecutorContext } from '@nx/devkit';
import { takeDownProject } from '../../run/stop/take-down-project';
import { createRunContext } from '../../context/context';
import { runTarget } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';

/** Terminates or stops the project's instances, or the named one. */
export default function remoteDown(
  given: ExecutorOptions<'remote-down'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-down', given, context, false, async (target, options) => {
    const { configuration, printer, project, signal } = target;
    const runContext = createRunContext(configuration, project, context.root, printer);
    target.answerSignal(
      () =>
        'Interrupted. EC2 continues what it was asked to do; run the same command to do the rest and to wait for it.',
    );
    try {
      await runContext.aws.region();
      const { stop = false, force = false } = options;
      const instances = await takeDownProject(runContext, await runContext.owner(), { stop, force, signal });
      return { instances, state: stop ? 'stopped' : 'terminated' };
    } finally {
      runContext.close();
    }
  });
}
