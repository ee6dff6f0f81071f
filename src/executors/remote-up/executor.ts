import type { ExecutorContext } from '@nx/devkit';
import { bringUpReady } from '../../instance/bring-up-ready';
import { TAG } from '../../instance/made';
import { readPriceTag } from '../../instance/price';
import { waitReady } from '../../instance/ready';
import { startNamed } from '../../instance/start';
import { openRuns } from '../../run/session';
import { runTarget } from '../run-target';
import type { RemoteUpExecutorSchema } from './schema';

/** Brings the instance up: starts the one that is named or was stopped, launches the one that is described; waits until it can be worked with. */
export default function remoteUp(
  options: RemoteUpExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-up', { ...options }, context, false, async (target) => {
    const { configuration, reporter, project, signal } = target;
    const { instance, prefix, pricePerHour, remoteRoot } = configuration;
    const session = openRuns(configuration, project, context.root, reporter);
    const { aws, store, keys } = session;
    target.onInterrupt(() => `Left. The same command goes on from here; nx run ${project}:remote-down ends it.`);
    try {
      await aws.region();
      const { id, how, type, zone, market, tags } =
        'described' in instance
          ? await bringUpReady(
              {
                ...{ aws, store, keys, prefix, pricePerHour, reporter, signal, root: remoteRoot, by: 'remote-up' },
                owner: await session.owner(),
                description: instance.described,
              },
              instance.wait,
            )
          : await startNamed(aws, instance, reporter, signal);
      if (!('described' in instance)) await waitReady(aws, id, instance.wait, reporter, signal);
      reporter.line(`${id} is ready.`);
      return { instance: id, how, type, zone, market, price: readPriceTag(tags[TAG.price] ?? '') };
    } finally {
      session.close();
    }
  });
}
