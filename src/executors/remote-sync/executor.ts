import type { ExecutorContext } from '@nx/devkit';
import type { SyncReply } from '../../command/plan';
import { describeFiles, totalSize } from '../../run/describe-files';
import { push, scanProject } from '../../run/push';
import { openSession } from '../../run/session';
import { runTarget } from '../run-target';
import type { RemoteSyncExecutorSchema } from './schema';

/** Puts the project and what it depends on onto the instance. */
export default function remoteSync(
  options: RemoteSyncExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-sync', { ...options }, context, false, async (target) => {
    const { configuration, reporter, project, workspace, signal } = target;
    if (options.dryRun) return describeFiles(reporter, await scanProject(workspace));
    target.onInterrupt(() => 'Interrupted. The same command goes on from here; the tree on the instance is whole.');
    const session = await openSession(configuration, project, context.root, reporter);
    try {
      const result = await push<SyncReply>(session, workspace, { signal, force: options.force });
      await result.settled;
      return {
        instance: session.instance,
        snapshot: result.snapshot.id,
        files: result.snapshot.size,
        bytes: totalSize(result.snapshot),
        sent: result.sent,
        written: result.reply.written,
        deleted: result.reply.deleted,
        restored: result.reply.restoredCount,
        kept: result.reply.kept,
        tree: result.reply.tree,
        commands: result.commands,
      };
    } finally {
      session.close();
    }
  });
}
