import type { ExecutorContext } from '@nx/devkit';
import { createRunContext } from '../../context/context';
import { Problem } from '../../report/problem';
import { resolveNode } from '../../run/find/find-node';
import { findPlace } from '../../run/ports/find-place';
import { RunPlace, type Place } from '../../run/ports/place';
import { parseLocalPort } from '../../run/ports/port-option';
import { showStored } from '../../run/ports/stored-tensorboard';
import { tensorboard, TOOL_PORTS } from '../../run/ports/tools';
import type { ExecutorOptions } from '../../config/schema/executor-options';
import { runTarget, type Target } from '../lib/run-target';
import { openTool, showPage } from '../lib/tool-target';

/**
 * TensorBoard over the event files of a run, on its instance, in the browser of this machine. Of a run whose instance is
 * gone, and of several runs: on this machine, over the files that they have saved.
 */
export default function remoteTensorboard(
  given: ExecutorOptions<'remote-tensorboard'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-tensorboard', given, context, false, async (target, options) => {
    const { configuration, printer, project, signal } = target;
    const tool = tensorboard(options.logdir);
    const pair = { remote: TOOL_PORTS.tensorboard, local: parseLocalPort(options.port) };
    const runs = namedRuns(options);
    target.answerSignal(() => 'TensorBoard is ended.');
    if (runs.length < 2) {
      const place = await findPlace(configuration, project, context.root, printer, { ...options, run: runs[0] });
      try {
        if (!(await isGone(place, signal))) {
          await openTool(target, options, place, { tool, port: pair.remote, path: () => '/' });
          return {};
        }
      } finally {
        place.context.close();
      }
    }
    const runContext = createRunContext(configuration, project, context.root, printer);
    try {
      const found = await Promise.all(
        (runs.length ? runs : [undefined]).map((run) => resolveNode(runContext, run, options.node)),
      );
      const records = found.map(({ record }) => record);
      await showStored(runContext, records, pair, signal, (port) => shown(target, options, port));
      return { runs: records.map(({ id }) => id) };
    } finally {
      runContext.close();
    }
  });
}

function shown(target: Target, options: ExecutorOptions<'remote-tensorboard'>, port: number): void {
  showPage(target, options, `TensorBoard: http://127.0.0.1:${port}/`);
}

/** @throws Problem OPTION_INVALID */
function namedRuns({ run, node }: ExecutorOptions<'remote-tensorboard'>): string[] {
  const runs = run === undefined ? [] : [...new Set(String(run).split(','))];
  if (runs.length > 1 && node !== undefined)
    throw new Problem('OPTION_INVALID', '--node is of one run, and --run names several.', {
      next: 'Leave --node out, or name one run.',
    });
  return runs;
}

/** Whether a run has no instance: none any more, or none now. */
async function isGone(place: Place, signal: AbortSignal): Promise<boolean> {
  return place instanceof RunPlace && !('instance' in (await place.look(true, signal)));
}
