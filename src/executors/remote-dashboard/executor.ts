import type { ExecutorContext } from '@nx/devkit';
import { findPlace } from '../../run/ports/find-place';
import { forwardPorts } from '../../run/ports/forward';
import { parseLocalPort } from '../../run/ports/port-option';
import { TOOL_PORTS } from '../../run/ports/tools';
import type { ExecutorOptions } from '../../config/schema/executor-options';
import { runTarget } from '../lib/run-target';
import { showPage } from '../lib/tool-target';

/** The dashboard that Ray has on the first node of a run, in the browser of this machine. */
export default function remoteDashboard(
  given: ExecutorOptions<'remote-dashboard'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-dashboard', given, context, false, async (target, options) => {
    const { configuration, printer, project, signal } = target;
    const pair = { remote: TOOL_PORTS.dashboard, local: parseLocalPort(options.port) };
    target.answerSignal(() => 'The port is closed.');
    const place = await findPlace(configuration, project, context.root, printer, options);
    try {
      const why = await forwardPorts(place, [pair], signal, ([port]) =>
        showPage(target, options, `Ray's dashboard: http://127.0.0.1:${port}/`),
      );
      printer.line(`${why} The port is closed.`);
      return {};
    } finally {
      place.context.close();
    }
  });
}
