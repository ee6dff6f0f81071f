import type { ExecutorContext } from '@nx/devkit';
import { TAG } from '../../instance/describe/ownership';
import { readPriceTag } from '../../instance/price/price';
import { startNamed } from '../../instance/ready/start';
import { ensureProjectInstances } from '../../run/start/run-instance';
import { createRunContext } from '../../context/context';
import { runTarget } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';
import { nxRun } from '../../report/shell-words';

/** Starts or launches the project's instance, and waits until it can be worked with. */
export default function remoteUp(
  given: ExecutorOptions<'remote-up'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-up', given, context, false, async (target) => {
    const { configuration, printer, project, signal } = target;
    const { instance } = configuration;
    const runContext = createRunContext(configuration, project, context.root, printer);
    target.answerSignal(
      () =>
        `Interrupted. To continue, run the same command. To terminate the instance: ${nxRun(project, 'remote-down')}`,
    );
    try {
      await runContext.aws.region();
      const { id, how, type, zone, market, tags } =
        'launchSpec' in instance
          ? (await ensureProjectInstances(runContext, instance.launchSpec, { by: 'remote-up' }, signal))[0]
          : await startNamed(runContext.aws, instance, instance.startupTimeout, printer, signal);
      printer.line(`${id} is ready.`);
      return { instance: id, how, type, zone, market, price: readPriceTag(tags[TAG.price] ?? '') };
    } finally {
      runContext.close();
    }
  });
}
