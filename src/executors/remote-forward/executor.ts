import type { ExecutorContext } from '@nx/devkit';
import { forwardPorts } from '../../run/ports/forward';
import { findPlace } from '../../run/ports/find-place';
import { parsePorts } from '../../run/ports/port-option';
import { openBrowser } from '../../system/open-browser';
import { runTarget } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';

/** Forwards ports of the instance to this machine until it is interrupted, or a run and its instance have ended. */
export default function remoteForward(
  given: ExecutorOptions<'remote-forward'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-forward', given, context, false, async (target, options) => {
    const { configuration, printer, project, signal } = target;
    const pairs = parsePorts(options.port);
    target.answerSignal(() => 'The ports are closed.');
    const place = await findPlace(configuration, project, context.root, printer, options);
    try {
      const why = await forwardPorts(place, pairs, signal, ([first]) => {
        if (options.open) openBrowser(`http://127.0.0.1:${first}`, (error) => printer.warn(`No browser: ${error}`));
      });
      printer.line(`${why} The ports are closed.`);
      return { ports: pairs.map(({ remote }) => remote) };
    } finally {
      place.context.close();
    }
  });
}
