import type { RunContext } from '../../context/types';
import type { RunFacts } from '../../command/plan';
import { type FollowOptions, followRun } from './follow';
import type { RunRecord } from '../record/record';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { metricsOf, newSources } from './metrics-line';

/** Follows a run to its end with its log on the terminal; says at its end which metrics were recognized. */
export async function streamRunLog(
  context: RunContext,
  run: RunFacts,
  options: Omit<FollowOptions, 'onLog' | 'onState'> = {},
): Promise<RunRecord> {
  const { printer } = context;
  let waiting = run.queue !== null;
  const told = new Set<string>();
  let state = '';
  let warned = 0;
  let troubled = false;
  const ended = await followRun(context, run, {
    ...options,
    onLog: (data) => printer.log(data),
    onState: (now) => {
      if (now.queue && JSON.stringify(now.queue) !== JSON.stringify(run.queue)) printer.line(describeQueue(now.queue));
      run = now;
      for (const text of now.metrics.warnings.slice(warned)) printer.warn(sanitizeForTerminal(text));
      warned = Math.max(warned, now.metrics.warnings.length);
      const sources = newSources(now.metrics.sources, told);
      if (sources) printer.line(sources);
      // AWS's words differ from one try to the next.
      if (now.trouble && !troubled) printer.warn(`${sanitizeForTerminal(now.trouble)}\nIt is tried again.`);
      else if (troubled && !now.trouble && now.outcome !== null) printer.line('What could not be saved is saved now.');
      troubled = now.trouble !== null;
      if (now.state === state) return;
      state = now.state;
      if (waiting && !now.queue && now.outcome === null) {
        waiting = false;
        printer.line('The run has reached the head of the queue and is starting.');
      }
      if (now.state === 'running' && now.pid) printer.detail(`Running, PID ${now.pid}`);
      if (now.state === 'saving') printer.detail('Ended; saving its results.');
    },
  });
  // Another attempt may follow on another instance; what was shown of the log may be a part of it.
  const isFinal = !options.once && ended.outcome !== null && !['interrupted', 'lost'].includes(ended.outcome);
  const metrics = metricsOf(ended.metrics.training);
  if (isFinal && metrics !== '') printer.line(`Metrics: ${sanitizeForTerminal(metrics)}`);
  return ended;
}

export function describeQueue({ before, holders }: { before: number; holders: string[] }): string {
  return `Waiting for ${before === 1 ? sanitizeForTerminal(holders[0] ?? 'another run') : `${before} runs`} on this instance.`;
}
