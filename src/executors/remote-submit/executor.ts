import type { ExecutorContext } from '@nx/devkit';
import { describeFiles } from '../../run/describe-files';
import { launch } from '../../run/launch';
import { resumePoint } from '../../run/resume';
import { scanProject } from '../../run/scan-project';
import { openSession } from '../../run/session';
import { describeStart, planRun } from '../../run/training';
import { commandOf } from '../../workspace/invocation';
import { runTarget } from '../run-target';
import type { RemoteSubmitExecutorSchema } from './schema';

/** Starts a training and leaves it: it goes on with this machine off. Needs the instance's role, since nobody renews a form. */
export default function remoteSubmit(
  options: RemoteSubmitExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-submit', { ...options }, context, false, async (target) => {
    const { configuration, reporter, project, workspace, signal } = target;
    const scanned = await scanProject(workspace);
    if (options.dryRun) {
      await planRun(configuration, project, scanned, context.root, {
        rerun: false,
        detached: true,
        restore: null,
        aws: null,
      });
      return describeFiles(reporter, scanned);
    }
    target.onInterrupt(() => 'Interrupted before the training was started.');
    const session = await openSession(configuration, project, context.root, reporter);
    try {
      const restore = options.resume ? await resumePoint(session, options.resume, false) : null;
      const rerun = options.rerun ?? false;
      const planned = await planRun(configuration, project, scanned, context.root, {
        rerun,
        detached: true,
        restore,
        aws: session.aws,
      });
      const { run, attached, settled } = await launch(session, workspace, planned, {
        ...{ signal, scanned, rerun },
        force: options.force,
        onSend: () =>
          target.onInterrupt(
            () =>
              `Interrupted while the training was being started. See whether it runs: ${commandOf(context, 'remote-status')}`,
          ),
      });
      describeStart(session, run, attached);
      reporter.line(`  its log:   ${commandOf(context, 'remote-logs')} --run=${run.id}`);
      reporter.line(`  how it is: ${commandOf(context, 'remote-status')} --run=${run.id}`);
      reporter.line(`  its files: ${commandOf(context, 'remote-pull')} --run=${run.id}`);
      reporter.line(`  stop it:   ${commandOf(context, 'remote-cancel')} --run=${run.id}`);
      await settled;
      return { run: run.id, instance: run.instance, snapshot: run.snapshot, attached };
    } finally {
      session.close();
    }
  });
}
