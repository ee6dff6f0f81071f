import { hash } from 'node:crypto';
import type { RunRecord } from './record';

const NONE = '0'.repeat(64);

/** Holds the segments of a log, in their order, against the hashes in the record of its run: docs/reference/formats.md, "Log". */
export class LogCheck {
  private readonly hashes: NonNullable<RunRecord['log']['hashes']>;
  private chain = NONE;

  constructor({ log }: Pick<RunRecord, 'log'>) {
    this.hashes = log.hashes ?? { folded: 0, chain: NONE, segments: [] };
  }

  /** The segment that must be looked at first, to verify from one on. */
  begin(segment: number): number {
    return segment >= this.hashes.folded ? segment : 0;
  }

  /** Whether the record has the hash of this very segment. */
  hasOwnHash(segment: number): boolean {
    return segment >= this.hashes.folded;
  }

  /** Whether a segment is the run's; of those that are one hash, the last of them tells. @param sha256 its own */
  takes(segment: number, sha256: string): boolean {
    const { folded, chain, segments } = this.hashes;
    if (segment >= folded) return segments[segment - folded] === sha256;
    this.chain = hash('sha256', Buffer.from(this.chain + sha256, 'hex'), 'hex');
    return segment < folded - 1 || this.chain === chain;
  }
}
