import { chosenRun } from './find-run';
import { startOfLog } from './log-start';
import type { RunRecord } from './record';
import type { RunsSession } from './session';
import { showRun } from './training';

export interface ShowLogsOptions {
  /** An id or `last`; absent: the latest. */
  run?: string;
  since?: string;
  tail?: number;
  /** Until the run has ended (default). */
  follow?: boolean;
}

/** Prints a run's log, from its start or a later point, and follows it to the run's end. @returns the run as it is then. */
export async function showLogs(
  session: RunsSession,
  { run, since, tail, follow }: ShowLogsOptions,
  signal: AbortSignal,
): Promise<RunRecord> {
  const { record } = await chosenRun(session, run);
  const from = await startOfLog(session, record, { since, tail });
  return showRun(session, record, { signal, from, once: follow === false });
}
