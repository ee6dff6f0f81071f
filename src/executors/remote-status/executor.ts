import type { ExecutorContext } from '@nx/devkit';
import { pause } from '../../command/run-command';
import { isAwaited } from '../../run/interruption';
import { openRuns } from '../../run/session';
import { describeRun, listStatus, oneStatus, tableOfRuns } from '../../run/status';
import { runTarget } from '../run-target';
import type { RemoteStatusExecutorSchema } from './schema';

/** Between two looks with --watch, ms. */
const WATCH = 2_000;

/** The runs of the project, or one of them in full; as the store knows them, and asked after where it has not been told. */
export default function remoteStatus(
  given: RemoteStatusExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-status', given, context, false, async (target, options) => {
    const { configuration, reporter, project, signal } = target;
    target.onInterrupt(() => 'Left; nothing is touched.');
    const session = openRuns(configuration, project, context.root, reporter);
    try {
      let said = '';
      for (;;) {
        const runs = options.run
          ? [await oneStatus(session, options.run, signal)]
          : await listStatus(session, options.limit ?? 20, signal);
        const [first] = runs;
        const text = options.run && !('why' in first) ? describeRun(first) : tableOfRuns(runs, project);
        if (text !== said) reporter.line(said ? `\n${text}` : text);
        said = text;
        const live = runs.some((run) => !('why' in run) && (run.state !== 'ended' || isAwaited(run)));
        if (!options.watch || !live) return { runs };
        await pause(WATCH, signal);
      }
    } finally {
      session.close();
    }
  });
}
