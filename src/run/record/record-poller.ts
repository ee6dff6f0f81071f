import type { RunFacts } from '../../command/plan';
import type { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';
import { Problem } from '../../report/problem';
import {
  isOlder,
  MAX_RECORD_BYTES,
  replayed,
  unverifiedIfUnreadable,
  verifyRecord,
  type RunRecord,
  type VerifiedRecord,
} from './record';
import { Moment, steadyNow } from '../../system/moment';

export type { RunRecord };

/** A run that is alive writes over a forged record within 10 s: so long the verified one is kept, ms. */
const UNVERIFIED_MS = 30_000;

/** A run's record in the store, looked at again and again. */
export class RecordWatch {
  /** The newest that was verified. */
  record: VerifiedRecord | null = null;
  /** Whether the last look found another one than the look before. */
  changed = false;
  private etag: string | undefined;
  /** When it was written, by our clock, ms. */
  private written: Moment | undefined;
  /** Since when there is one that can't be verified, by our clock, ms. */
  private unverified: { since: number; why: Problem } | undefined;

  /**
   * @param patience how long one that can't be verified is waited to be written over, ms.
   * @param node the rank of a node of a run on several; that of the first one, 0, is the run's record.
   */
  constructor(
    private readonly store: Store,
    private readonly keys: StoreKeys,
    private readonly run: string,
    private readonly patience = UNVERIFIED_MS,
    private readonly node = 0,
  ) {}

  /** Since it was written, ms, by S3's clock. */
  get age(): number {
    return this.written?.age ?? Infinity;
  }

  /**
   * The record as it is now; null where there is none.
   * @throws Problem `RECORD_UNVERIFIED` where another has taken its place, and stays.
   */
  async look(signal?: AbortSignal): Promise<VerifiedRecord | null> {
    const key = `${this.keys.node(this.run, this.node)}record.json`;
    this.changed = false;
    try {
      const found = await this.store.getIfChanged(key, MAX_RECORD_BYTES, this.etag, signal);
      if (found && found !== 'same') {
        this.etag = found.etag;
        await this.take(found.bytes, new Moment(Math.max(0, found.answered - found.modified)));
      }
    } catch (refused) {
      const error = unverifiedIfUnreadable(this.run, refused);
      if (!(error instanceof Problem) || !/^(RECORD_UNVERIFIED|STORE_TOO_LARGE)$/.test(error.code)) throw error;
      this.unverified ??= { since: steadyNow(), why: error };
    }
    if (this.unverified && steadyNow() - this.unverified.since >= this.patience) throw this.unverified.why;
    return this.record;
  }

  private async take(bytes: Buffer, written: Moment): Promise<void> {
    const { store, keys, run, node } = this;
    const record = await verifyRecord(store, { keys, run, node }, bytes);
    if (this.record && isOlder(record, this.record))
      throw replayed(record, [this.record.attempt, this.record.heartbeat]);
    await store.signingKeys.cache({ keys, run, node }, [record.attempt, record.heartbeat]);
    // A version that was written again by somebody else is no younger: each write of the instance is a new one.
    if (this.record && !isOlder(this.record, record)) written = this.written ?? written;
    Object.assign(this, { record, written, changed: true, unverified: undefined });
  }
}

/** A record of a run that has none in the store yet. */
export function recordOf(run: RunFacts & { state?: RunRecord['state'] }): RunRecord {
  return {
    ...run,
    v: 1,
    state: run.state ?? (run.outcome === null ? 'running' : 'ended'),
    since: null,
    attempts: [],
    log: { size: 0, training: null, truncated: false, hashes: null },
    metrics: { host: null, gpus: null, training: {}, progress: null, segments: 0, sources: [], warnings: [] },
    checkpoints: [],
    warnings: [],
    artifacts: null,
    restoredFrom: null,
    takenOver: run.takenOver ?? null,
    datasets: [],
    metadata: { git: null, command: '', recovery: 'none', configuration: {}, host: '', price: null },
    heartbeat: 0,
    heartbeatPort: null,
    access: 'presigned',
    trouble: null,
  };
}
