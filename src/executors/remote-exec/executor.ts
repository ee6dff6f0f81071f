import type { ExecutorContext } from '@nx/devkit';
import { splitCommand } from '../../config/syntax/words';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { execute, type CommandName } from '../../run/shell/exec';
import { resolveRun } from '../../run/find/find-run';
import { requestStop } from '../../run/stop/cancel';
import { createInstanceContext } from '../../context/context';
import { runTarget } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';

/** Runs a command on the instance, in a run's directory with its environment, or among the synced files; ends as it ended. */
export default function remoteExec(
  given: ExecutorOptions<'remote-exec'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-exec', given, context, false, async (target, options) => {
    const { configuration, printer, project, signal } = target;
    const { command } = options;
    if (command === undefined || !String(command).trim())
      throw new Problem('OPTION_MISSING', 'No command is given.', { next: 'Write: --command="nvidia-smi"' });
    const argv = Array.isArray(command) ? command.map(String) : splitCommand(String(command), '--command');
    const instanceContext = await createInstanceContext(configuration, project, context.root, printer);
    try {
      const run = options.run ? (await resolveRun(instanceContext, options.run)).record : null;
      // It is a command in the foreground, as one's own: the first signal stops it.
      const stopBySignal = (command: CommandName, say: string) =>
        target.answerSignal(() => say, {
          immediate: true,
          say,
          stop: () => requestStop(instanceContext, command, configuration.train.gracePeriod),
        });
      const done = await execute(instanceContext, run, argv, signal, {
        onSend: (sent) =>
          stopBySignal(
            sent,
            `The command may have been started on ${sent.instance} as ${sent.id}; it is asked to stop.`,
          ),
        onStart: (started) => stopBySignal(started, 'The command is asked to stop.'),
      });
      if (done.outcome !== 'succeeded') {
        const how = done.signal ? `was killed by ${done.signal}` : `exited with ${done.exitCode}`;
        const what = done.failure
          ? sanitizeForTerminal(done.failure.message)
          : `${sanitizeForTerminal(argv[0])} ${how}`;
        throw Object.assign(new Problem('COMMAND_FAILED', `${what}.`), {
          result: { exitCode: done.exitCode, signal: done.signal },
        });
      }
      return { instance: done.instance, exitCode: 0 };
    } finally {
      instanceContext.close();
    }
  });
}
