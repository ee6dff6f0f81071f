import { duration } from '../../config/syntax/units';
import { Problem } from '../../report/problem';
import { describeRun, listStatus, oneStatus, tableOfRuns, type RunStatus, type UnverifiedRun } from './status';
import { watchStatus } from './watch-status';
import type { RunContext } from '../../context/types';

/** Between two looks while watching, ms. */
const INTERVAL_MS = 5_000;
const MIN_INTERVAL_MS = 1_000;
const MAX_INTERVAL_MS = 3_600_000;

export interface ShowStatusOptions {
  /** An id or `last`; absent: the project's runs are listed. */
  run?: string;
  /** The number of runs that are listed at most. */
  limit?: number;
  /** Look again and again until no run is active. */
  watch?: boolean;
  /** The time between two looks. */
  interval?: string;
}

/** Prints the runs of the project, or one of them in full. The store's records are used; an instance is asked where they are old. */
export async function showStatus(
  context: RunContext,
  { run, limit = 20, watch = false, interval }: ShowStatusOptions,
  signal: AbortSignal,
): Promise<(RunStatus | UnverifiedRun)[]> {
  const { printer, project } = context;
  // None of the runs would read as: there are no runs.
  if (!Number.isSafeInteger(limit) || limit < 1)
    throw new Problem('OPTION_INVALID', `--limit=${limit}: must be a whole number of at least 1.`);
  if (interval !== undefined && !watch)
    throw new Problem('OPTION_INVALID', '--interval is the time between two looks of --watch, which is not set.');
  const show = (runs: readonly (RunStatus | UnverifiedRun)[]) => {
    const [first] = runs;
    printer.line(run && !('why' in first) ? describeRun(first) : tableOfRuns([...runs], project));
  };
  if (watch) return watchStatus(context, { run, limit, interval: intervalOf(interval) }, show, signal);
  const runs = run ? [await oneStatus(context, run, signal)] : await listStatus(context, limit, signal);
  show(runs);
  return runs;
}

function intervalOf(text: string | undefined): number {
  if (text === undefined) return INTERVAL_MS;
  const parsed = duration.safeParse(text);
  if (parsed.success && parsed.data >= MIN_INTERVAL_MS && parsed.data <= MAX_INTERVAL_MS) return parsed.data;
  throw new Problem('OPTION_INVALID', `--interval=${text}: must be a duration from "1s" to "1h".`);
}
