import type { ExecutorContext } from '@nx/devkit';
import { TAG } from '../../instance/made';
import { readPriceTag } from '../../instance/price';
import { startNamed } from '../../instance/start';
import { bringUpDescribed } from '../../run/made-instance';
import { openRuns } from '../../run/session';
import { runTarget } from '../run-target';
import type { RemoteUpExecutorSchema } from './schema';

/** Brings the instance up: starts the one that is named or was stopped, launches the one that is described; waits until it can be worked with. */
export default function remoteUp(
  given: RemoteUpExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-up', given, context, false, async (target) => {
    const { configuration, reporter, project, signal } = target;
    const { instance } = configuration;
    const session = openRuns(configuration, project, context.root, reporter);
    target.onInterrupt(() => `Left. The same command goes on from here; nx run ${project}:remote-down ends it.`);
    try {
      await session.aws.region();
      const { id, how, type, zone, market, tags } =
        'described' in instance
          ? await bringUpDescribed(session, instance.described, { by: 'remote-up' }, signal)
          : await startNamed(session.aws, instance, instance.wait, reporter, signal);
      reporter.line(`${id} is ready.`);
      return { instance: id, how, type, zone, market, price: readPriceTag(tags[TAG.price] ?? '') };
    } finally {
      session.close();
    }
  });
}
