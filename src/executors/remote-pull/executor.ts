import { join, resolve } from 'node:path';
import type { ExecutorContext } from '@nx/devkit';
import { Problem } from '../../report/problem';
import { chosenRun } from '../../run/find-run';
import { pullRun } from '../../run/pull';
import { openRuns } from '../../run/session';
import { runTarget } from '../run-target';
import type { RemotePullExecutorSchema } from './schema';

/** Brings artifacts and checkpoints of any run from the store, verified; what is here already is not fetched again. */
export default function remotePull(
  given: RemotePullExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-pull', given, context, false, async (target, options) => {
    const { configuration, reporter, project, signal } = target;
    const { projectRoot } = configuration;
    const { outputs, maxArtifactSize } = configuration.train;
    const root = join(context.root, projectRoot);
    const output = resolve(root, options.output ?? '.');
    target.onInterrupt(() => 'Interrupted; the same command goes on where this one was.');
    const session = openRuns(configuration, project, context.root, reporter);
    try {
      const { record } = await chosenRun(session, options.run);
      const pulled = await pullRun(session, record, {
        ...{ output, projectRoot, outputs, signal },
        paths: options.path === undefined ? undefined : [options.path].flat(),
        checkpoints: checkpointsOf(options.checkpoints),
        overwrite: options.overwrite,
        limit: maxArtifactSize,
      });
      return { run: record.id, ...pulled };
    } finally {
      session.close();
    }
  });
}

function checkpointsOf(wish: string | number | undefined): 'none' | 'last' | 'all' | number {
  if (wish === undefined) return 'none';
  if (wish === 'none' || wish === 'last' || wish === 'all') return wish;
  if (/^[1-9]\d{0,8}$/.test(String(wish))) return Number(wish);
  throw new Problem('OPTION_INVALID', `--checkpoints=${wish}: must be none, last, all, or a number.`);
}
