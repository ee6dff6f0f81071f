import type { ExecutorContext } from '@nx/devkit';
import { shellCommand } from '../../command/session/shell-command';
import { Problem } from '../../report/problem';
import { createInstanceContext } from '../../context/context';
import { readRunOption } from '../../run/find/find-run';
import { openShell } from '../../run/shell/shell';
import { runTarget } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';

/** A shell on the instance, in a run's directory with its environment, or in the synced project; ends as the shell ended. */
export default function remoteShell(
  given: ExecutorOptions<'remote-shell'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-shell', given, context, false, async (target, options) => {
    const { configuration, printer, project, signal } = target;
    target.answerSignal(() => 'The shell was closed.');
    const instanceContext = await createInstanceContext(configuration, project, context.root, printer);
    try {
      const shell = shellCommand({
        root: configuration.remoteRoot ?? null,
        run: readRunOption(options.run, project) ?? null,
        tree: instanceContext.tree,
        project,
        projectRoot: configuration.projectRoot,
        user: configuration.user ?? null,
      });
      const exitCode = await openShell(instanceContext, shell, signal);
      if (exitCode !== 0) throw new Problem('SHELL_FAILED', `The shell ended with exit code ${exitCode}.`);
      return { instance: instanceContext.instance, exitCode };
    } finally {
      instanceContext.close();
    }
  });
}
