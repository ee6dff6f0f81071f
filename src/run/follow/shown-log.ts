import { createHash, type Hash } from 'node:crypto';
import { LogCheck } from '../record/log-check';
import type { RunRecord } from '../record/record';
import { SEGMENT_BYTES } from '../record/stored-log';

/**
 * What was shown of a log, to be held against the run's record when there is one of its end: before, nobody has signed
 * what is read in the store.
 */
export class ShownLog {
  private at: number;
  /** Where the part begins that can be verified by itself: a segment's start. */
  private from: number;
  private readonly whole: string[] = [];
  private open: Hash = createHash('sha256');

  constructor(from: number) {
    this.at = from;
    this.from = Math.ceil(from / SEGMENT_BYTES) * SEGMENT_BYTES;
  }

  /** A piece, as it is shown. One that does not follow on the one before begins anew: the log was taken back so far. */
  add(offset: number, piece: Buffer): void {
    if (offset !== this.at) {
      this.from = Math.ceil(offset / SEGMENT_BYTES) * SEGMENT_BYTES;
      this.whole.length = 0;
      this.open = createHash('sha256');
    }
    this.at = offset + piece.length;
    for (let done = Math.max(0, this.from - offset); done < piece.length;) {
      const room = SEGMENT_BYTES - ((offset + done) % SEGMENT_BYTES);
      const part = piece.subarray(done, done + room);
      this.open.update(part);
      done += part.length;
      if (part.length < room) break;
      this.whole.push(this.open.digest('hex'));
      this.open = createHash('sha256');
    }
  }

  /** The first segment that was shown otherwise than the record of the run's end says; null where there is none. */
  changed(record: Pick<RunRecord, 'log'>): number | null {
    const first = this.from / SEGMENT_BYTES;
    const check = new LogCheck(record);
    // More was shown than the record names, or less: only whole segments are compared then.
    const last = this.at === record.log.size && this.at % SEGMENT_BYTES && this.at > this.from;
    const seen = [...this.whole, ...(last ? [this.open.copy().digest('hex')] : [])];
    const start = check.begin(first) === first ? first : null;
    if (start === null) return null;
    const wrong = seen.findIndex(
      (sha256, n) => (start + n) * SEGMENT_BYTES < record.log.size && !check.takes(start + n, sha256),
    );
    return wrong < 0 ? null : start + wrong;
  }
}
