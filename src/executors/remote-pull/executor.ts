import { join, resolve } from 'node:path';
import type { ExecutorContext } from '@nx/devkit';
import { Problem } from '../../report/problem';
import { resolveNode } from '../../run/find/find-node';
import { pullRun } from '../../run/artifacts/pull';
import { writeReport } from '../../run/report/write-report';
import { createRunContext } from '../../context/context';
import { runTarget } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';

/** Brings artifacts and checkpoints of any run from the store, verified; what is here already is not fetched again. */
export default function remotePull(
  given: ExecutorOptions<'remote-pull'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-pull', given, context, false, async (target, options) => {
    const { configuration, printer, project, signal } = target;
    const { projectRoot } = configuration;
    const { outputs, maxArtifactSize } = configuration.train;
    const root = join(context.root, projectRoot);
    const output = resolve(root, options.output ?? '.');
    target.answerSignal(() => 'Interrupted. Run the same command to continue.');
    const runContext = createRunContext(configuration, project, context.root, printer);
    try {
      const { record } = await resolveNode(runContext, options.run, options.node);
      const pulled = await pullRun(runContext, record, {
        output,
        projectRoot,
        outputs,
        signal,
        paths: options.path === undefined ? undefined : [options.path].flat(),
        checkpoints: checkpointsOf(options.checkpoints),
        overwrite: options.overwrite,
        limit: maxArtifactSize,
      });
      // Who names paths, or a node, wants nothing else.
      if (configuration.train.report && options.path === undefined && options.node === undefined)
        await writeReport(runContext, record, output, signal);
      return { run: record.id, ...pulled };
    } finally {
      runContext.close();
    }
  });
}

function checkpointsOf(value: string | number | undefined): 'none' | 'last' | 'all' | number {
  if (value === undefined) return 'none';
  if (value === 'none' || value === 'last' || value === 'all') return value;
  if (/^[1-9]\d{0,8}$/.test(String(value))) return Number(value);
  throw new Problem('OPTION_INVALID', `--checkpoints=${value}: must be none, last, all, or a number.`);
}
