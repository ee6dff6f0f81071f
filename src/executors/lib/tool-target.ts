import type { ExecutorContext } from '@nx/devkit';
import { randomBytes } from 'node:crypto';
import { findPlace } from '../../run/ports/find-place';
import { forwardPorts } from '../../run/ports/forward';
import { parseLocalPort } from '../../run/ports/port-option';
import { startServer, type Tool } from '../../run/ports/server';
import { openBrowser } from '../../system/open-browser';
import type { ExecutorOptions, TargetName } from '../../config/schema/executor-options';
import { runTarget } from './run-target';

type ToolTarget = 'remote-tensorboard' | 'remote-jupyter';

/** A web page of a server on the instance. */
interface ToolPage {
  tool: Tool;
  /** Of this machine, and on the instance where the server is there already. */
  port: number;
  /** What follows the address. */
  path(token: string): string;
}

/**
 * Starts a server on the instance and forwards its port until it is interrupted: Ctrl+C ends the server as well.
 * @param page is asked when the options are checked.
 */
export function runTool<N extends ToolTarget>(
  name: N & TargetName,
  given: ExecutorOptions<N>,
  context: ExecutorContext,
  page: (options: ExecutorOptions<N>) => ToolPage,
): Promise<{ success: boolean }> {
  return runTarget(name, given, context, false, async (target, options) => {
    const { configuration, printer, project, signal } = target;
    const { tool, port, path } = page(options);
    const local = parseLocalPort(options.port);
    target.answerSignal(() => `${tool.name} is ended.`);
    const place = await findPlace(configuration, project, context.root, printer, options);
    const token = randomBytes(24).toString('hex');
    try {
      const why = await forwardPorts(
        place,
        [{ remote: port, local }],
        signal,
        ([opened]) => {
          const url = `http://127.0.0.1:${opened}${path(token)}`;
          printer.line(`${tool.name}: ${url}`);
          if (options.open) openBrowser(url, (error) => printer.warn(`No browser: ${error}`));
        },
        (instance, until) => startServer(place, instance, tool, token, until),
      );
      printer.line(`${why} ${tool.name} is ended.`);
      return {};
    } finally {
      place.context.close();
    }
  });
}
