import type { ExecutorContext } from '@nx/devkit';
import type { SyncReply } from '../../command/plan';
import { Problem } from '../../report/problem';
import { describeFiles, totalSize } from '../../project/describe-files';
import { push, uploadDuringScan } from '../../project/sync-project';
import { scanProject } from '../../project/scan-project';
import { ScannedContents } from '../../snapshot/scanned-contents';
import { nextTurn } from '../../system/sleep';
import { createInstanceContext } from '../../context/context';
import { runTarget } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';

/** Puts the project and what it depends on onto the instance, or onto several. */
export default function remoteSync(
  given: ExecutorOptions<'remote-sync'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-sync', given, context, false, async (target, options) => {
    const { configuration, printer, project, workspace, signal } = target;
    if (options.dryRun) return describeFiles(printer, await scanProject(workspace));
    target.answerSignal(() => 'Interrupted. The tree on the instance is complete. Run the same command to continue.');
    // Files are looked at while AWS is asked who and where.
    const opening = createInstanceContext(configuration, project, context.root, printer);
    const contents = new ScannedContents();
    const first = nextTurn().then(() => scanProject(workspace, contents));
    first.catch(() => undefined);
    const runContext = await opening;
    try {
      const early = uploadDuringScan(runContext, contents, signal);
      const result = await push<SyncReply>(runContext, workspace, { signal, first, early, force: options.force });
      await result.settled;
      const { snapshot, sent, commands, replies, failures } = result;
      const instances = [...replies].map(([instance, reply]) => ({
        instance,
        written: reply.written,
        deleted: reply.deleted,
        restored: reply.revertedCount,
        kept: reply.kept,
        healed: reply.healed,
        tree: reply.tree,
      }));
      const failed = [...failures].map(([instance, { message }]) => ({ instance, message }));
      const done = {
        snapshot: snapshot.id,
        files: snapshot.size,
        bytes: totalSize(snapshot),
        sent,
        commands,
        ...instances[0],
        ...(runContext.instances.length > 1 ? { instances, failed } : {}),
      };
      if (!failed.length) return done;
      throw Object.assign(
        new Problem(
          'SYNC_PARTIAL',
          `${failed.length} of ${runContext.instances.length} instances were not synced: ${failed.map(({ instance }) => instance).join(', ')}.`,
          { next: 'To retry them, run the same command. The other instances are up to date.' },
        ),
        { result: done },
      );
    } finally {
      runContext.close();
    }
  });
}
