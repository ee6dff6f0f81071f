import { hash } from 'node:crypto';
import { z } from 'zod';
import { Problem } from '../../report/problem';
import type { StoreKeys } from '../../store/keys';
import { readAgain } from '../../store/objects/read-again';
import { StoreUnreadable } from '../../store/objects/unusable';
import type { Store } from '../../store/store';
import { LogCheck } from './log-check';
import { prefixOfRecord, type NodeOfRun, type RunRecord } from './record';

/** Bytes of a segment of a run's log: docs/reference/formats.md, "Runs in the store". */
export const SEGMENT_BYTES = 256 * 1024;
/** 2,000 pairs of numbers. */
const MAX_TIMES_BYTES = 256 * 1024;

const number = z.number().int().nonnegative();
const timesSchema = z.object({ times: z.array(z.tuple([number, number])).max(10_000) });

/** A run's log, or that of one of its nodes, as the store has it. */
export class StoredLog {
  private readonly prefix: string;

  constructor(
    private readonly store: Store,
    keys: StoreKeys,
    run: NodeOfRun,
  ) {
    this.prefix = prefixOfRecord(keys, run);
  }

  /** What of it is there from an offset on, up to the end of one segment; empty where nothing is. */
  async read(offset: number, signal?: AbortSignal): Promise<Buffer> {
    const number = Math.floor(offset / SEGMENT_BYTES);
    const key = `${this.prefix}log/${number}`;
    const piece = await this.store
      .getFrom(key, offset % SEGMENT_BYTES, SEGMENT_BYTES, signal)
      .catch((error: unknown) => {
        // The store lacks the segment, as if it had been deleted.
        if (error instanceof StoreUnreadable) return null;
        throw error;
      });
    return piece ?? Buffer.alloc(0);
  }

  /**
   * What a run's record names of the log, from an offset on, in pieces: none is given that is not as the record says. A
   * segment of a very long log is verified with all before it: then its pieces come first, and the error after them.
   * @throws Problem `LOG_MISSING`, `LOG_CHANGED`
   */
  async *verified(record: RunRecord, from: number, signal?: AbortSignal): AsyncGenerator<Buffer> {
    const { size } = record.log;
    const check = new LogCheck(record);
    const first = Math.floor(from / SEGMENT_BYTES);
    for (let n = check.begin(first); n * SEGMENT_BYTES < size; n++) {
      const wanted = Math.min(SEGMENT_BYTES, size - n * SEGMENT_BYTES);
      const read = async () => {
        const bytes = (await this.read(n * SEGMENT_BYTES, signal)).subarray(0, wanted);
        if (bytes.length < wanted)
          throw new Problem(
            'LOG_MISSING',
            `The log of ${record.id} is not in the store from ${n * SEGMENT_BYTES + bytes.length} on.`,
          );
        if (check.takes(n, hash('sha256', bytes, 'hex'))) return bytes;
        throw new Problem('LOG_CHANGED', `${this.prefix}log/${n} differs from the record of the run.`, {
          next: 'Another program has changed it: check who may write to the bucket.',
        });
      };
      // One hash is that of many segments: which of them is damaged is not known.
      const bytes = await (check.hasOwnHash(n) ? readAgain('LOG_CHANGED', read, signal) : read());
      if (n >= first) yield n === first ? bytes.subarray(from % SEGMENT_BYTES) : bytes;
    }
  }

  /** When what was written: pairs of ms and of the bytes that there were by then. */
  async times(): Promise<[number, number][]> {
    const bytes = await this.store.get(`${this.prefix}times.json`, MAX_TIMES_BYTES);
    if (!bytes) return [];
    try {
      return timesSchema.parse(JSON.parse(bytes.toString())).times;
    } catch {
      // They only help to find a place in the log.
      return [];
    }
  }

  /** Where the last so many lines of its first `size` bytes begin. */
  async tail(lines: number, size: number): Promise<number> {
    let found = 0;
    for (let end = size; end > 0;) {
      const start = Math.floor((end - 1) / SEGMENT_BYTES) * SEGMENT_BYTES;
      const segment = (await this.read(start)).subarray(0, end - start);
      // The store has less than it is said to have: nothing is looked for before what lacks.
      if (!segment.length) return end;
      // The last line may or may not have ended.
      for (let at = segment.length - (end === size ? 2 : 1); at >= 0; at--) {
        if (segment[at] === 10 && ++found === lines) return start + at + 1;
      }
      end = start;
    }
    return 0;
  }
}
