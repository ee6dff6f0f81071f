import type { RunFacts } from '../command/plan';
import type { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import { MAX_RECORD, parseRecord, type RunRecord } from './record';

export type { RunRecord };

/** A run's record in the store, looked at again and again. */
export class RecordWatch {
  record: RunRecord | null = null;
  /** Whether the last look found another one than the look before. */
  changed = false;
  private etag: string | undefined;
  /** When it was written, by our clock, ms. */
  private written = 0;

  constructor(
    private readonly store: Store,
    private readonly keys: StoreKeys,
    private readonly run: string,
  ) {}

  /** Since it was written, ms, by S3's clock. */
  get age(): number {
    return Date.now() - this.written;
  }

  /** The record as it is now; null where there is none. */
  async look(signal?: AbortSignal): Promise<RunRecord | null> {
    const key = `${this.keys.run(this.run)}record.json`;
    const found = await this.store.getChanged(key, MAX_RECORD, this.etag, signal);
    this.changed = found !== 'same' && found !== null;
    if (found && found !== 'same') {
      this.record = parseRecord(found.bytes, this.run, key);
      this.etag = found.etag;
      this.written = Date.now() - Math.max(0, found.answered - found.modified);
    }
    return this.record;
  }
}

/** What is known of a run that the store was not told of. */
export function recordOf(run: RunFacts & { state?: RunRecord['state'] }): RunRecord {
  return {
    ...run,
    v: 1,
    state: run.state ?? (run.outcome === null ? 'running' : 'ended'),
    since: null,
    attempts: [],
    log: { size: 0, training: null, truncated: false },
    metrics: { host: null, gpus: null, training: {}, segments: 0, warnings: [] },
    checkpoints: [],
    warnings: [],
    artifacts: null,
    restored: null,
    resumed: run.resumed ?? null,
    data: [],
    description: { git: null, command: '', recovery: 'none', configuration: {}, host: '', price: null },
    beat: 0,
    access: 'presigned',
    trouble: null,
  };
}
