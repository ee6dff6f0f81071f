import type { ExecutorContext } from '@nx/devkit';
import type { Aws } from '../../aws/clients';
import type { NamedInstance } from '../../config/schema/instance-name';
import { namesSeveral } from '../../config/settings/instance-settings';
import { findAll } from '../../instance/describe/find';
import { TAG } from '../../instance/describe/ownership';
import { readPriceTag } from '../../instance/price/price';
import { startNamed } from '../../instance/ready/start';
import { ensureProjectInstances } from '../../run/start/run-instance';
import { createRunContext } from '../../context/context';
import { runTarget, type Target } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';
import { nxRun } from '../../report/shell-words';

/** Starts or launches the project's instance, or starts all that are named, and waits until they can be worked with. */
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
      const { aws } = runContext;
      const up =
        'launchSpec' in instance
          ? await ensureProjectInstances(
              runContext,
              instance.launchSpec,
              { by: 'remote-up', ...(instance.launchSpec.pool ? { slot: 0 } : {}) },
              signal,
            )
          : await startNamed(aws, await namesOf(target, aws), instance.startupTimeout, printer, signal);
      for (const { id } of up) printer.line(`${id} is ready.`);
      const [{ id, how, type, zone, market, tags }] = up;
      const several = up.length > 1 ? { instances: up.map((each) => each.id) } : {};
      return { instance: id, ...several, how, type, zone, market, price: readPriceTag(tags[TAG.price] ?? '') };
    } finally {
      runContext.close();
    }
  });
}

/** Those that are there, of several names, each by its id. */
async function namesOf({ configuration }: Target, aws: Aws): Promise<NamedInstance[]> {
  const names = configuration.instances as NamedInstance[];
  return namesSeveral(names) ? (await findAll(aws, names)).map(({ id }) => ({ id })) : names;
}
