import type { ExecutorContext } from '@nx/devkit';
import { createRunContext } from '../../context/context';
import { describePool, readPool } from '../../run/pool/describe-pool';
import { showStatus } from '../../run/status/show-status';
import { runTarget } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';

/** The runs of the project, or one of them in full; as the store knows them, and asked after where it has not been told. */
export default function remoteStatus(
  given: ExecutorOptions<'remote-status'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-status', given, context, false, async (target, options) => {
    const { configuration, printer, project, signal } = target;
    target.answerSignal(() => 'Interrupted. Nothing was changed.');
    const runContext = createRunContext(configuration, project, context.root, printer);
    try {
      const pool = options.run ? null : await readPool(runContext, signal);
      if (pool) printer.line(describePool(pool));
      return { runs: await showStatus(runContext, options, signal), ...(pool ? { pool } : {}) };
    } finally {
      runContext.close();
    }
  });
}
