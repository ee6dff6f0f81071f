import { hash } from 'node:crypto';
import { LogCheck } from '../record/log-check';
import type { RunRecord } from '../record/record';
import { SEGMENT_BYTES } from '../record/stored-log';

/**
 * What was shown of a log, to be held against the run's records: before there is one that names it, nobody has signed
 * what is read in the store.
 */
export class ShownLog {
  private at: number;
  /** Where the part begins that can be verified by itself: a segment's start. */
  private from: number;
  private readonly whole: string[] = [];
  /** The bytes of the segment that is not whole yet: a record may name a part of it. */
  private rest: Buffer[] = [];

  constructor(from: number) {
    this.at = from;
    this.from = Math.ceil(from / SEGMENT_BYTES) * SEGMENT_BYTES;
  }

  /** A piece, as it is shown. One that does not follow on the one before begins anew: the log was taken back so far. */
  add(offset: number, piece: Buffer): void {
    if (offset !== this.at) {
      this.from = Math.ceil(offset / SEGMENT_BYTES) * SEGMENT_BYTES;
      this.whole.length = 0;
      this.rest = [];
    }
    this.at = offset + piece.length;
    for (let done = Math.max(0, this.from - offset); done < piece.length;) {
      const rest = SEGMENT_BYTES - ((offset + done) % SEGMENT_BYTES);
      const part = piece.subarray(done, done + rest);
      this.rest.push(part);
      done += part.length;
      if (part.length < rest) break;
      this.whole.push(hash('sha256', Buffer.concat(this.rest), 'hex'));
      this.rest = [];
    }
  }

  /** What its segment has before the first piece, which begins at an offset and was not shown yet: it is verified with it. */
  addUnshown(offset: number, before: Buffer): void {
    if (this.at !== offset || this.from < offset) return;
    this.at = this.from = offset - before.length;
    this.add(this.from, before);
  }

  /** The first segment that was shown otherwise than a record says; null where there is none. */
  changed(record: Pick<RunRecord, 'log'>): number | null {
    const { size } = record.log;
    const first = this.from / SEGMENT_BYTES;
    const check = new LogCheck(record);
    // Of a segment that was whole when it was shown, and was not when the record was written, a later record tells.
    const seen = this.whole.filter((_, n) => (first + n + 1) * SEGMENT_BYTES <= size);
    const end = size - (first + this.whole.length) * SEGMENT_BYTES;
    if (end > 0 && end < SEGMENT_BYTES && this.at >= size && this.at > this.from)
      seen.push(hash('sha256', Buffer.concat(this.rest).subarray(0, end), 'hex'));
    if (check.begin(first) !== first) return null;
    const wrong = seen.findIndex((sha256, n) => !check.takes(first + n, sha256));
    return wrong < 0 ? null : first + wrong;
  }
}
