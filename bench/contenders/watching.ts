import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { now, type Timing } from './contender';
import type { Driving } from './driver';

/** A save that takes longer has failed, ms. */
const LIMIT = 30_000;
/** The instance's copy is looked at so often, ms. */
const LOOK = 1;

/** From the save to the instance's copy having it, and to the acknowledgement being printed. */
export interface Save extends Timing {
  acknowledged: number;
}

/** A watch at work in another process. */
export class Watching {
  private readonly lines: string[] = [];
  private readonly waiting = new Set<(line: string) => void>();

  constructor(
    private readonly driving: Driving,
    private readonly source: string,
    private readonly target: string,
  ) {
    driving.done.catch(() => undefined);
    createInterface(driving.child.stderr!).on('line', (line) => {
      this.lines.push(line);
      for (const hear of this.waiting) hear(line);
    });
  }

  /** Waits for a line that is still to be printed. @returns when it was. */
  async line(wanted: RegExp): Promise<number> {
    let hear!: (line: string) => void;
    const heard = new Promise<number>((resolve) => (hear = (line) => wanted.test(line) && resolve(now())));
    this.waiting.add(hear);
    try {
      return await Promise.race([heard, this.end, this.late()]);
    } finally {
      this.waiting.delete(hear);
    }
  }

  /** @param edit makes an edit, and says of which file: of that the instance's copy is looked at. */
  async save(edit: () => string): Promise<Save> {
    const printed = this.line(/^Synced /);
    printed.catch(() => undefined);
    const begun = now();
    const file = edit();
    const copy = join(this.target, relative(this.source, file));
    const wanted = readFileSync(file);
    while (!readFileSync(copy).equals(wanted)) {
      if (now() - begun > LIMIT) await this.late(0);
      await sleep(LOOK);
    }
    const ended = now();
    return { begun, ended, acknowledged: await printed };
  }

  /** As by Ctrl+C. */
  async interrupt(): Promise<Timing> {
    this.driving.child.kill('SIGINT');
    return await this.driving.done;
  }

  kill(): void {
    this.driving.child.kill('SIGKILL');
  }

  private get end(): Promise<never> {
    return this.driving.done.then(() => {
      throw new Error('the watch has ended');
    });
  }

  private async late(limit = LIMIT): Promise<never> {
    await sleep(limit, undefined, { ref: false });
    throw new Error(`nothing after ${LIMIT / 1000} s: ${this.lines.slice(-5).join('; ')}`);
  }
}
