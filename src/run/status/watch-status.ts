import { join } from 'node:path';
import { LookBudget } from '../../command/look-budget';
import type { RunContext } from '../../context/types';
import { sleep } from '../../system/sleep';
import { machineState } from '../../workspace/state';
import { awaitsReplacement } from '../record/interruption';
import { LossTrends } from './loss-trends';
import { describeRun, directReader, listStatus, oneStatus, type RunStatus, type UnverifiedRun } from './status';
import { WatchedRuns } from './watched-runs';
import { footer, lineOf, tableOfWatched } from './watch-table';

/** Where nothing is drawn in place, a run whose metrics alone change has a line this often at most, ms. */
const LINE_INTERVAL_MS = 30_000;

/** So many runs, the newest, have a sparkline. */
const MAX_TRENDS = 30;

type Seen = readonly (RunStatus | UnverifiedRun)[];

interface WatchRequest {
  /** An id or `last`; absent: the project's runs. */
  run?: string;
  limit: number;
  /** Between two looks at least, ms. */
  interval: number;
}

/**
 * Looks at runs until none is active, and shows them: on a terminal in place, elsewhere a line for each run that has
 * changed. @returns the runs as they were at last.
 * @param show prints runs in full.
 */
export async function watchStatus(
  context: RunContext,
  { run, limit, interval }: WatchRequest,
  show: (runs: Seen) => void,
  signal: AbortSignal,
): Promise<(RunStatus | UnverifiedRun)[]> {
  const reader = new WatchedRuns(directReader(context, signal));
  const view = context.printer.drawsInPlace ? new DrawnView(context, reader, run) : new PrintedView(context, show);
  const budget = new LookBudget(join(machineState(), 'status-looks'));
  try {
    for (let id = run; ;) {
      const runs = id
        ? [await oneStatus(context, id, signal, reader)]
        : await listStatus(context, limit, signal, reader);
      // `last` is the run that it was at first.
      if (id) id = runs[0].id;
      reader.count(id ? nodesOf(runs[0]) + 1 : 1);
      const isLive = runs.some((each) => !('why' in each) && (each.state !== 'ended' || awaitsReplacement(each)));
      if (!isLive) {
        view.end();
        show(runs);
        return runs;
      }
      await view.look(runs);
      const pause = reader.pause(interval) * budget.factor();
      view.wait(pause);
      await sleep(pause, signal);
    }
  } finally {
    budget.close();
  }
}

function nodesOf(run: RunStatus | UnverifiedRun): number {
  return 'why' in run ? 1 : (run.node?.count ?? 1);
}

/** Shows each look in place of the one before. */
class DrawnView {
  private readonly trends: LossTrends;
  private text = '';

  constructor(
    private readonly context: RunContext,
    reader: WatchedRuns,
    private readonly run: string | undefined,
  ) {
    this.trends = new LossTrends(context, () => reader.count(1));
  }

  async look(runs: Seen): Promise<void> {
    const trends = new Map<string, string>();
    // One after the other: whoever writes to the bucket chooses how large a segment is.
    for (const each of runs.slice(0, MAX_TRENDS))
      if (!('why' in each)) trends.set(each.id, await this.trends.look(each));
    const [first] = runs;
    if (!this.run || 'why' in first) this.text = tableOfWatched(runs, trends);
    else {
      const trend = trends.get(first.id);
      this.text = `${describeRun(first)}${trend ? `\n${'loss'.padEnd(11)} ${trend}` : ''}`;
    }
  }

  wait(pause: number): void {
    this.context.printer.drawLines(`${this.text}\n\n${footer(pause, new Date())}`);
  }

  end(): void {
    this.context.printer.eraseLines();
  }
}

/** Prints the runs once, and then a line for each that has changed. */
class PrintedView {
  private readonly last = new Map<string, { state: string; text: string; at: number }>();
  private isFirst = true;

  constructor(
    private readonly context: RunContext,
    private readonly show: (runs: Seen) => void,
  ) {}

  look(runs: Seen): Promise<void> {
    if (this.isFirst) this.show(runs);
    for (const each of runs) if (!('why' in each)) this.tell(each);
    this.isFirst = false;
    return Promise.resolve();
  }

  private tell(run: RunStatus): void {
    const state = `${run.state} ${run.silent} ${run.outcome} ${run.attempt}`;
    const text = JSON.stringify([run.metrics.training, run.metrics.progress]);
    const last = this.last.get(run.id);
    const now = Date.now();
    const isDue = last?.state !== state || (last.text !== text && Math.abs(now - last.at) >= LINE_INTERVAL_MS);
    if (!isDue) return;
    this.last.set(run.id, { state, text, at: now });
    if (!this.isFirst) this.context.printer.line(lineOf(run, new Date(now)));
  }

  wait(): void {
    // What was printed stands.
  }

  end(): void {
    this.context.printer.line('');
  }
}
