import { Problem } from '../../report/problem';
import type { RunContext } from '../../context/types';
import type { RunRecord } from '../record/record';
import { UnusableObject } from '../../store/objects/unusable';
import { StoredLog } from '../record/stored-log';

/** What the store has of a node's log, as far as its record names it, in pieces that were written together. */
export class LogHistory {
  private readonly log: StoredLog;
  private readonly pieces: AsyncGenerator<Buffer>;
  private piece: Buffer = Buffer.alloc(0);
  private times: [number, number][] = [];

  /** @param at the offset of what was not read yet. */
  constructor(
    { store, keys }: Pick<RunContext, 'store' | 'keys'>,
    record: RunRecord,
    public at: number,
    signal: AbortSignal,
  ) {
    this.log = new StoredLog(store, keys, record);
    this.pieces = this.log.verified(record, at, signal);
  }

  async open(): Promise<void> {
    this.times = await this.log.times().catch((error: unknown) => {
      if (error instanceof UnusableObject) return [];
      throw error;
    });
    await this.fill();
  }

  get isOver(): boolean {
    return this.piece.length === 0;
  }

  /** When the next piece was written, ms, by the clock of the node. Nobody has signed it: it decides the order alone. */
  get time(): number {
    return this.next?.[0] ?? Infinity;
  }

  async take(): Promise<Buffer> {
    const length = Math.min(this.piece.length, (this.next?.[1] ?? Infinity) - this.at);
    const taken = this.piece.subarray(0, length);
    this.piece = this.piece.subarray(length);
    this.at += length;
    if (!this.piece.length) await this.fill();
    return taken;
  }

  private get next(): [number, number] | undefined {
    while (this.times.length && this.times[0][1] <= this.at) this.times.shift();
    return this.times[0];
  }

  /** Of a log that lacks a part or was changed, the follower says so, and what there is of it. */
  private async fill(): Promise<void> {
    try {
      const { value } = await this.pieces.next();
      this.piece = (value as Buffer | undefined) ?? Buffer.alloc(0);
    } catch (error) {
      if (!(error instanceof Problem && /^LOG_(MISSING|CHANGED)$/.test(error.code))) throw error;
      this.piece = Buffer.alloc(0);
    }
  }
}

/** Gives the pieces of several logs in the order in which they were written. */
export async function inOrderOfTime(
  histories: readonly LogHistory[],
  show: (from: LogHistory, piece: Buffer) => void,
): Promise<void> {
  await Promise.all(histories.map((each) => each.open()));
  for (;;) {
    const left = histories.filter((each) => !each.isOver);
    if (!left.length) return;
    const first = left.reduce((one, other) => (other.time < one.time ? other : one));
    show(first, await first.take());
  }
}
