import ms from 'ms';
import { Problem } from '../../report/problem';
import type { RunRecord } from '../record/record';
import { UnusableObject } from '../../store/objects/unusable';
import { StoredLog } from '../record/stored-log';
import type { RunContext } from '../../context/types';

/**
 * The offset of a run's log to start at.
 * @param since a duration before now (`10m`) or a time (`2026-11-25T10:00`), to a second. @param tail lines.
 */
export async function startOfLog(
  { store, keys, printer }: Pick<RunContext, 'store' | 'keys' | 'printer'>,
  record: RunRecord,
  { since, tail }: { since?: string; tail?: number },
): Promise<number> {
  const log = new StoredLog(store, keys, record);
  let from = 0;
  if (since !== undefined) {
    const time = timeOf(since, Date.now());
    const times = await log.times().catch((error: unknown) => {
      // Anybody may have written them who writes below the run: they only help to find a place in the log.
      if (!(error instanceof UnusableObject)) throw error;
      printer.warn(`The log is shown from its beginning, because --since can't be found in it: ${error.what}`);
      return [];
    });
    for (const [at, size] of times) if (at < time) from = Math.max(from, size);
    // Nobody has signed the times: they hide nothing that the record names.
    if (record.state === 'ended') from = Math.min(from, record.log.size);
  }
  if (tail !== undefined) {
    if (!Number.isInteger(tail) || tail < 0)
      throw new Problem('OPTION_INVALID', `--tail=${tail}: must be a number of lines.`);
    from = Math.max(from, tail === 0 ? record.log.size : await log.tail(tail, record.log.size));
  }
  return from;
}

/** ms since the epoch. */
export function timeOf(text: string, now: number): number {
  const ago = /^\s*\d+(\.\d+)?\s*[a-z]+\s*$/i.test(text) ? ms(text.trim() as ms.StringValue) : undefined;
  if (ago !== undefined) return now - ago;
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(time)) {
    throw new Problem('OPTION_INVALID', `--since=${text}: must be a duration ("10m") or a time ("2026-11-25T10:00").`);
  }
  return time;
}
