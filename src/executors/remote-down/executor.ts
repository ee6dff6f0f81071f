import type { ExecutorContext } from '@nx/devkit';
import { bringDown } from '../../run/bring-down';
import { openRuns } from '../../run/session';
import { runTarget } from '../run-target';
import type { RemoteDownExecutorSchema } from './schema';

/** Takes down what was made for the project, or the instance that is named: terminates it, or stops it. */
export default function remoteDown(
  given: RemoteDownExecutorSchema,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-down', given, context, false, async (target, options) => {
    const { configuration, reporter, project, signal } = target;
    const session = openRuns(configuration, project, context.root, reporter);
    target.onInterrupt(
      () => 'Left. What EC2 was asked for goes on without us; the same command does the rest, and waits for it.',
    );
    try {
      await session.aws.region();
      const { stop = false, force = false } = options;
      const instances = await bringDown(session, await session.owner(), { stop, force, signal });
      return { instances, state: stop ? 'stopped' : 'terminated' };
    } finally {
      session.close();
    }
  });
}
