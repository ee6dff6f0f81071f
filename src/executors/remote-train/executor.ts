import { join } from 'node:path';
import type { ExecutorContext } from '@nx/devkit';
import { collectArtifacts, type Collected } from '../../run/artifacts/collect';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { costOf, describeCost } from '../../run/status/cost';
import { reportWarnings } from '../../run/follow/run-warnings';
import { assertOutputsSaved } from '../../run/artifacts/assert-saved';
import { assertCacheable } from '../../run/artifacts/extra-files';
import { assertOutputsOfRun } from '../../run/artifacts/nx-outputs';
import { writeReport } from '../../run/report/write-report';
import { describeOutcome, assertSucceeded } from '../../run/status/outcome';
import { followWithRecovery } from '../../run/start/follow-with-recovery';
import { describeStart } from '../../run/start/describe-start';
import { filesInput } from '../../project/scan-project';
import { findFiles } from '../../workspace/files/find-files';
import { targetCommand } from '../../workspace/invocation';
import { CacheKeyCheck } from '../lib/cache-key-check';
import { detachOnSignal } from '../lib/detach-on-signal';
import { assertDataIsHashed } from '../lib/refuse-stale-cache-hit';
import { runTarget } from '../lib/run-target';
import type { StartedRun } from '../../run/start/start-run';
import { isAllSaved } from '../../run/record/all-saved';
import type { RunRecord } from '../../run/record/record';
import { startTraining } from '../training/start-training';
import type { ExecutorOptions } from '../../config/schema/executor-options';

/** Trains on the instance: syncs, starts, shows the log, brings the artifacts back, ends as the training ended. */
export default function remoteTrain(
  given: ExecutorOptions<'remote-train'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-train', given, context, true, async (target, options) => {
    const { configuration, printer, project, signal } = target;
    assertDataIsHashed(configuration, context);
    return startTraining(target, options, false, async (runContext, started, made) => {
      const { run, attached } = started;
      const keyCheck = new CacheKeyCheck(target);
      const own = !attached || run.caller === (await runContext.caller());
      detachOnSignal(target, runContext, run, own);
      describeStart(runContext, run, attached, { own, cancel: targetCommand(context, 'remote-cancel') });
      await keyCheck.warn(run.snapshot);
      const ended = await followWithRecovery(runContext, started, {
        signal,
        recovery: (own && made?.recovery) || null,
        onNextAttempt: (again) => detachOnSignal(target, runContext, again, own),
      });
      target.answerSignal(
        () =>
          `Interrupted. The training ${ended.id} ${describeOutcome(ended)}.` +
          (ended.outcome === 'succeeded' ? ' The same command brings its results.' : ''),
      );
      const cost = describeCost(ended);
      if (cost) printer.line(`The training has cost ${sanitizeForTerminal(cost)}`);
      // Its results are downloaded first, unless the instance is kept for those that are there alone.
      const isKept = ended.outcome !== 'succeeded' || !isAllSaved(ended);
      if (isKept) await made?.waitForShutdown(ended);
      reportWarnings(printer, ended);
      const report = async () => {
        if (configuration.train.report)
          await writeReport(runContext, ended, join(context.root, configuration.projectRoot), signal);
      };
      if (ended.outcome !== 'succeeded') await report();
      assertSucceeded(ended, project);
      printer.line(`The training ${describeOutcome(ended)}`);
      const collected = await collectArtifacts(runContext, ended, signal);
      await report();
      if (!isKept) await made?.waitForShutdown(ended);
      assertOutputsSaved(ended, project, collected.skipped);
      keyCheck.rejectCaching(ended, collected.directory);
      if (context.target?.cache) {
        assertCacheable(ended, runContext, collected);
        await assertOutputsOfRun(
          ended,
          runContext,
          collected.delivered,
          async () => (await findFiles(filesInput(target.workspace))).paths,
        );
      }
      return describeResult(ended, attached, collected);
    });
  });
}

/** As the line for machines says it. */
function describeResult(ended: RunRecord, attached: StartedRun['attached'], collected: Collected) {
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
      unsaved: collected.unsaved.map(({ name, why, size }) => ({ name, why, size })),
    },
  };
}
