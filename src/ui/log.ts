import { hash } from 'node:crypto';
import { TerminalText } from '../report/terminal-text';
import { Problem } from '../report/problem';
import { LogCheck } from '../run/record/log-check';
import { isEnded } from '../run/record/liveness';
import { SEGMENT_BYTES, StoredLog } from '../run/record/stored-log';
import type { LogPiece } from './api';
import type { FoundRun } from './store-reader';

/** Bytes of a piece at most. */
const PIECE_BYTES = SEGMENT_BYTES;
const NEWLINE = 10;

/**
 * Which lines: `from` an offset that a line begins at; `at` the first line after any offset; `before` the last ones
 * before an offset; the last ones of all.
 */
export interface LogPlace {
  where: 'from' | 'at' | 'before' | 'end';
  offset: number;
}

/**
 * Reads a piece of a run's log: of a log of any length, no more than two segments. The text is safe to print, with its
 * colors.
 * @throws Problem `LOG_MISSING`, `LOG_CHANGED`
 */
export async function readLog(run: FoundRun, { where, offset }: LogPlace, signal: AbortSignal): Promise<LogPiece> {
  const { record } = run;
  const { size } = record.log;
  const end = Math.min(size, where === 'end' ? size : where === 'before' ? offset : offset + PIECE_BYTES);
  const start = where === 'end' || where === 'before' ? Math.max(0, end - PIECE_BYTES) : Math.min(offset, size);
  const { bytes, isVerified } = await readRange(run, start, end, signal);
  const skipped = where === 'from' || start === 0 ? 0 : bytes.indexOf(NEWLINE) + 1;
  // The lines before an offset end there.
  const last = where === 'before' ? bytes.length : bytes.lastIndexOf(NEWLINE) + 1;
  const isLong = last <= skipped && bytes.length - skipped >= PIECE_BYTES / 2;
  // A line longer than a piece is shown in pieces.
  const to = isLong ? wholeCharacters(bytes) : Math.max(last, skipped);
  return {
    from: start + skipped,
    next: start + to,
    size,
    text: printable(bytes.subarray(skipped, to)),
    rest: end === size && where !== 'before' && to < bytes.length ? printable(bytes.subarray(to)) : null,
    isActive: !isEnded(record),
    isVerified,
  };
}

/** What the record says of the log is verified; what it has only one hash of, with all before it, is read as it is. */
async function readRange(
  { store, keys, record }: FoundRun,
  start: number,
  end: number,
  signal: AbortSignal,
): Promise<{ bytes: Buffer; isVerified: boolean }> {
  const log = new StoredLog(store, keys, record);
  const check = new LogCheck(record);
  const pieces: Buffer[] = [];
  let isVerified = true;
  for (let n = Math.floor(start / SEGMENT_BYTES); n * SEGMENT_BYTES < end; n++) {
    const first = n * SEGMENT_BYTES;
    const wanted = Math.min(SEGMENT_BYTES, record.log.size - first);
    const bytes = (await log.read(first, signal)).subarray(0, wanted);
    if (bytes.length < wanted)
      throw new Problem('LOG_MISSING', `The log of ${record.id} is not in the store from ${first + bytes.length} on.`);
    if (record.log.hashes === null || !check.hasOwnHash(n)) isVerified = false;
    else if (!check.takes(n, hash('sha256', bytes, 'hex')))
      throw new Problem('LOG_CHANGED', `Part ${n} of the log of ${record.id} differs from the record of the run.`, {
        next: 'Another program has changed it: check who may write to the bucket.',
      });
    pieces.push(bytes.subarray(Math.max(0, start - first), end - first));
  }
  return { bytes: Buffer.concat(pieces), isVerified };
}

function printable(bytes: Buffer): string {
  const filter = new TerminalText();
  return filter.write(bytes) + filter.end();
}

/** Where the last character begins that may be cut off. */
function wholeCharacters(bytes: Buffer): number {
  let at = bytes.length;
  for (let back = 1; back <= 3 && back < bytes.length; back++) {
    const byte = bytes[bytes.length - back];
    if (byte < 0x80) break;
    if (byte >= 0xc0) {
      at = bytes.length - back;
      break;
    }
  }
  return at;
}
