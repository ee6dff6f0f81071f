import { sleep } from '../../system/sleep';
import { Problem } from '../../report/problem';
import { awaitsReplacement } from '../record/interruption';
import { describeRun, listStatus, oneStatus, tableOfRuns, type RunStatus, type UnverifiedRun } from './status';
import type { RunContext } from '../../context/types';

/** Between two looks while watching, ms. */
const WATCH_POLL_MS = 2_000;

export interface ShowStatusOptions {
  /** An id or `last`; absent: the project's runs are listed. */
  run?: string;
  /** The number of runs that are listed at most. */
  limit?: number;
  /** Look again and again until no run is active. */
  watch?: boolean;
}

/** Prints the runs of the project, or one of them in full. The store's records are used; an instance is asked where they are old. */
export async function showStatus(
  context: RunContext,
  { run, limit = 20, watch = false }: ShowStatusOptions,
  signal: AbortSignal,
): Promise<(RunStatus | UnverifiedRun)[]> {
  const { printer, project } = context;
  // None of the runs would read as: there are no runs.
  if (!Number.isSafeInteger(limit) || limit < 1)
    throw new Problem('OPTION_INVALID', `--limit=${limit}: must be a whole number of at least 1.`);
  let printed = '';
  for (;;) {
    const runs = run ? [await oneStatus(context, run, signal)] : await listStatus(context, limit, signal);
    const [first] = runs;
    const text = run && !('why' in first) ? describeRun(first) : tableOfRuns(runs, project);
    if (text !== printed) printer.line(printed ? `\n${text}` : text);
    printed = text;
    const isLive = runs.some((each) => !('why' in each) && (each.state !== 'ended' || awaitsReplacement(each)));
    if (!watch || !isLive) return runs;
    await sleep(WATCH_POLL_MS, signal);
  }
}
