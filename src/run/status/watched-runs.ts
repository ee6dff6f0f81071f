import { awaitsReplacement } from '../record/interruption';
import { EC2_CHECK_MS } from '../record/liveness';
import type { ReadRecord } from '../record/record';
import type { FoundRun } from '../find/find-run';
import type { RunReader, RunStatus, UnverifiedRun } from './status';

/** So many requests a minute a watch may take, over all that it looks at. */
const MAX_REQUESTS_PER_MINUTE = 300;
/** EC2, or an instance, is asked after a run that says nothing at most this often, ms. */
const ASK_INTERVAL_MS = 30_000;
/** A record that can't be read is read again after this time, ms. */
const REREAD_MS = 60_000;

/** Reads runs again and again with few requests: a run that has ended is read once. Counts the requests. */
export class WatchedRuns implements RunReader {
  private readonly settled = new Map<string, ReadRecord | UnverifiedRun>();
  private readonly unverifiedAt = new Map<string, number>();
  private readonly asked = new Map<string, { at: number; status: RunStatus }>();
  /** Since the last call of `pause`. */
  private requests = 0;

  constructor(
    private readonly direct: RunReader,
    private readonly now: () => number = Date.now,
  ) {}

  /** Counts requests that are made beside those for records. */
  count(requests: number): void {
    this.requests += requests;
  }

  async read(id: string): Promise<ReadRecord | UnverifiedRun | null> {
    const known = this.settled.get(id);
    if (known && this.now() - (this.unverifiedAt.get(id) ?? this.now()) < REREAD_MS) return known;
    this.count(1);
    const read = await this.direct.read(id);
    if (read === null) return null;
    if ('why' in read) this.unverifiedAt.set(id, this.now());
    else this.unverifiedAt.delete(id);
    if ('why' in read || isOver(read.record)) this.settled.set(id, read);
    else this.settled.delete(id);
    return read;
  }

  async status(found: FoundRun): Promise<RunStatus> {
    const { record, age } = found;
    if (record.state === 'ended' || age < EC2_CHECK_MS) {
      this.asked.delete(record.id);
      return this.direct.status(found);
    }
    const last = this.asked.get(record.id);
    if (last && this.now() - last.at < ASK_INTERVAL_MS) return { ...last.status, heard: Math.max(0, age) };
    this.count(1);
    const status = await this.direct.status(found);
    this.asked.set(record.id, { at: this.now(), status });
    return status;
  }

  /** How long to wait before the next look, ms, and begins to count anew. */
  pause(interval: number): number {
    const spread = (this.requests * 60_000) / MAX_REQUESTS_PER_MINUTE;
    this.requests = 0;
    return Math.max(interval, spread);
  }
}

/** Whether a run's record does not change any more. */
function isOver(record: ReadRecord['record']): boolean {
  return record.state === 'ended' && !awaitsReplacement(record);
}
