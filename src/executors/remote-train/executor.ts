import type { ExecutorContext } from '@nx/devkit';
import { collectArtifacts } from '../../run/artifacts';
import { describeFiles } from '../../run/describe-files';
import { describeOutcome, refuseFailure } from '../../run/outcome';
import { scanProject } from '../../run/scan-project';
import { openSession } from '../../run/session';
import { launch } from '../../run/launch';
import { resumePoint } from '../../run/resume';
import { describeStart, planRun, showRun } from '../../run/training';
import { commandOf } from '../../workspace/invocation';
import { leaveRunning } from '../leave-running';
import { refuseStaleHit } from '../stale-hit';
import { runTarget } from '../run-target';
import type { RemoteTrainExecutorSchema } from './schema';

/** Trains on the instance: syncs, starts, shows the log, brings the artifacts back, ends as the training ended. */
export default function remoteTrain(
  options: RemoteTrainExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-train', { ...options }, context, true, async (target) => {
    const { configuration, reporter, project, workspace, signal } = target;
    refuseStaleHit(configuration, context);
    const scanned = await scanProject(workspace);
    if (options.dryRun) {
      await planRun(configuration, project, scanned, context.root, {
        rerun: false,
        detached: false,
        restore: null,
        aws: null,
      });
      return describeFiles(reporter, scanned);
    }
    target.onInterrupt(() => 'Interrupted before the training was started.');
    const session = await openSession(configuration, project, context.root, reporter);
    try {
      const restore = options.resume ? await resumePoint(session, options.resume, true) : null;
      const rerun = options.rerun ?? false;
      const planned = await planRun(configuration, project, scanned, context.root, {
        rerun,
        detached: false,
        restore,
        aws: session.aws,
      });
      const launched = await launch(session, workspace, planned, {
        ...{ signal, scanned, rerun },
        force: options.force,
        onSend: () =>
          target.onInterrupt(
            () =>
              `Interrupted while the training was being started. See whether it runs: ${commandOf(context, 'remote-status')}`,
          ),
      });
      const { run, attached } = launched;
      const own = !attached || run.caller === (await session.caller());
      leaveRunning(target, session, run, own);
      describeStart(session, run, attached, { own, cancel: commandOf(context, 'remote-cancel') });
      const [ended] = await Promise.all([
        showRun(session, run, { signal, first: launched.log, formSince: launched.formSince }),
        launched.settled,
      ]);
      refuseFailure(ended, project);
      reporter.line(`The training ${describeOutcome(ended)}`);
      const collected = await collectArtifacts(session, ended, signal);
      return {
        run: ended.id,
        instance: ended.instance,
        snapshot: ended.snapshot,
        attached,
        attempts: ended.attempt,
        exitCode: ended.exitCode,
        startedAt: ended.startedAt,
        endedAt: ended.endedAt,
        checkpoints: ended.checkpoints.length,
        metrics: ended.metrics.training,
        artifacts: { directory: collected.directory, files: collected.artifacts.length, bytes: collected.bytes },
      };
    } finally {
      session.close();
    }
  });
}
