import type { ExecutorContext } from '@nx/devkit';
import type { TrainReply } from '../../command/plan';
import { collectArtifacts } from '../../run/artifacts';
import { describeFiles } from '../../run/describe-files';
import { describeOutcome, refuseFailure } from '../../run/outcome';
import { push } from '../../run/push';
import { scanProject } from '../../run/scan-project';
import { openSession } from '../../run/session';
import { describeStart, planRun, showRun } from '../../run/training';
import { CONFIG_FILE, declaredConfiguration, pluginOptions, type Configuration } from '../../config/configuration';
import { Problem } from '../../report/problem';
import { printable } from '../../report/terminal-text';
import { commandOf } from '../../workspace/invocation';
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
    const run = await planRun(configuration, project, scanned, options.rerun ?? false, context.root);
    if (options.dryRun) return describeFiles(reporter, scanned);
    target.onInterrupt(() => 'Interrupted before the training was started.');
    const session = await openSession(configuration, project, context.root, reporter);
    try {
      const pushed = await push<TrainReply>(session, workspace, {
        signal,
        first: scanned,
        force: options.force,
        run,
        onSend: () =>
          target.onInterrupt(
            () =>
              `Interrupted while the training was being started. See whether it runs: ${commandOf(context, 'remote-logs')}`,
          ),
      });
      const { reply } = pushed;
      target.onInterrupt(
        () =>
          `Detached: ${reply.run.id} goes on on ${session.instance}.\n` +
          `  come back:  the same command, or ${commandOf(context, 'remote-logs')} --run=${reply.run.id}\n` +
          `  stop it:    ${commandOf(context, 'remote-cancel')} --run=${reply.run.id}`,
      );
      describeStart(session, reply, commandOf(context, 'remote-cancel'));
      const [ended] = await Promise.all([showRun(session, reply.run.id, signal), pushed.settled]);
      reporter.line(`The training ${describeOutcome(ended)}`);
      refuseFailure(ended);
      const collected = await collectArtifacts(session, ended, signal);
      return {
        run: ended.id,
        instance: session.instance,
        snapshot: ended.snapshot,
        attached: reply.attached,
        exitCode: ended.exitCode,
        startedAt: ended.startedAt,
        endedAt: ended.endedAt,
        artifacts: { directory: collected.directory, files: collected.artifacts.length, bytes: collected.bytes },
      };
    } finally {
      session.close();
    }
  });
}

/** Where Nx caches the target, data that only the target's options name is no part of the cache key. */
function refuseStaleHit(configuration: Configuration, context: ExecutorContext): void {
  if (!context.target?.cache) return;
  const { sync } = declaredConfiguration(
    pluginOptions(context.nxJsonConfiguration ?? {}),
    context.root,
    configuration.projectRoot,
  );
  const declared = new Set((sync.include ?? []) as string[]);
  const extra = configuration.sync.include.find((pattern) => !declared.has(pattern));
  if (extra === undefined) return;
  throw new Problem(
    'INCLUDE_NOT_HASHED',
    `"sync.include" names ${printable(extra)} in the options of ${context.projectName}:${context.targetName}, where the cache key does not see it: a later hit could restore the result of other data.`,
    { next: `Name it in ${CONFIG_FILE} (its contents are hashed then), or set "cache": false on the target.` },
  );
}
