import { mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';

/** So many commands of this machine are followed at full pace; more share what these take. */
const FULL_PACE_COMMANDS = 4;
/** A command that has not said for this long that it is followed, ms, is not: its process was killed. */
const FORGOTTEN_MS = 15_000;
/** Between two looks at what the others do, ms. */
const LOOK_AT_OTHERS_MS = 1_000;
/** After AWS has throttled a look, all of this machine look less often for this long, ms, and by this factor. */
const THROTTLED_MS = 30_000;
const THROTTLED_FACTOR = 4;
const THROTTLE_MARK = 'throttled';

/**
 * How often the state of a command may be asked for. Systems Manager counts requests by account and region (the limit
 * is not published), so all followers of this machine share one budget: each keeps a file in one directory. Where the
 * directory can't be used, a follower counts itself alone.
 */
export class LookBudget {
  private readonly file: string;
  private seen = 0;
  private current = 1;
  /** By how much this follower looks less often, since it was itself throttled. */
  private own = 1;

  /** @param directory the same for all of this machine. */
  constructor(private readonly directory: string) {
    this.file = join(directory, randomUUID());
    this.attempt(() => {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      writeFileSync(this.file, '');
    });
  }

  /** What the usual interval between two looks is to be multiplied by: 1 or more. */
  factor(now = Date.now()): number {
    // Also where the clock was set back.
    if (Math.abs(now - this.seen) >= LOOK_AT_OTHERS_MS) {
      this.seen = now;
      this.current = this.countShares(now);
    }
    return Math.max(this.current, this.own);
  }

  /** A look was throttled: this follower, and the others, look less often. */
  throttled(now = Date.now()): void {
    this.own = Math.min(64, this.own * 2);
    this.seen = 0;
    this.attempt(() => {
      const mark = join(this.directory, THROTTLE_MARK);
      writeFileSync(mark, '');
      utimesSync(mark, now / 1000, now / 1000);
    });
  }

  /** A look was answered at the first attempt. */
  answered(): void {
    this.own = Math.max(1, this.own * 0.9);
  }

  close(): void {
    this.attempt(() => rmSync(this.file, { force: true }));
  }

  private countShares(now: number): number {
    let followers = 0;
    let slower = 1;
    this.attempt(() => {
      utimesSync(this.file, now / 1000, now / 1000);
      for (const name of readdirSync(this.directory)) {
        const { mtimeMs = 0 } = statSync(join(this.directory, name), { throwIfNoEntry: false }) ?? {};
        // A file from the future was written before the clock was set back.
        const age = Math.abs(now - mtimeMs);
        if (name === THROTTLE_MARK) slower = age < THROTTLED_MS ? THROTTLED_FACTOR : 1;
        else if (age < FORGOTTEN_MS) followers++;
        else rmSync(join(this.directory, name), { force: true });
      }
    });
    return Math.max(1, followers / FULL_PACE_COMMANDS) * slower;
  }

  /** The budget only spares requests: nothing fails for it. */
  private attempt(act: () => void): void {
    try {
      act();
    } catch {
      // A full disk, a cache that may not be written.
    }
  }
}
