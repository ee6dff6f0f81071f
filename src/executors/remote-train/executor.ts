import type { ExecutorContext } from '@nx/devkit';
import { collectArtifacts } from '../../run/artifacts';
import { printable } from '../../report/terminal-text';
import { costOf, describeCost } from '../../run/cost';
import { refuseCachingNothing } from '../../run/extra-files';
import { describeOutcome, refuseFailure } from '../../run/outcome';
import { showThrough } from '../../run/recover';
import { describeStart } from '../../run/training';
import { commandOf } from '../../workspace/invocation';
import { CacheKeyCheck } from '../cache-key-check';
import { leaveRunning } from '../leave-running';
import { refuseStaleHit } from '../stale-hit';
import { runTarget } from '../run-target';
import { startTraining } from '../start-training';
import type { RemoteTrainExecutorSchema } from './schema';

/** Trains on the instance: syncs, starts, shows the log, brings the artifacts back, ends as the training ended. */
export default function remoteTrain(
  given: RemoteTrainExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-train', given, context, true, async (target, options) => {
    const { configuration, reporter, project, signal } = target;
    refuseStaleHit(configuration, context);
    return startTraining(target, options, false, async (session, launched, made) => {
      const { run, attached } = launched;
      const keyCheck = new CacheKeyCheck(target);
      const own = !attached || run.caller === (await session.caller());
      leaveRunning(target, session, run, own);
      describeStart(session, run, attached, { own, cancel: commandOf(context, 'remote-cancel') });
      await keyCheck.announce(run.snapshot);
      const ended = await showThrough(session, launched, {
        signal,
        recovery: (own && made?.recovery) || null,
        onAgain: (again) => leaveRunning(target, session, again, own),
      });
      const cost = describeCost(ended);
      if (cost) reporter.line(`The training has cost ${printable(cost)}`);
      if (ended.outcome !== 'succeeded') await made?.seeOff(ended);
      refuseFailure(ended, project);
      for (const warning of ended.warnings ?? []) reporter.warn(printable(warning));
      reporter.line(`The training ${describeOutcome(ended)}`);
      const collected = await collectArtifacts(session, ended, signal);
      await made?.seeOff(ended);
      keyCheck.refuseCaching(ended, collected.directory);
      if (context.target?.cache) refuseCachingNothing(ended.id, collected);
      return {
        run: ended.id,
        instance: ended.instance,
        snapshot: ended.snapshot,
        attached,
        attempts: ended.attempt,
        exitCode: ended.exitCode,
        startedAt: ended.startedAt,
        endedAt: ended.endedAt,
        cost: costOf(ended),
        checkpoints: ended.checkpoints.length,
        metrics: ended.metrics.training,
        artifacts: {
          directory: collected.directory,
          files: collected.artifacts.length,
          bytes: collected.bytes,
          heldBack: collected.heldBack,
          extra: collected.extra.map(({ name, size }) => ({ name, size })),
          unsaved: collected.unsaved,
        },
      };
    });
  });
}
