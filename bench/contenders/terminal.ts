import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Timing } from './contender';
import type { Driving } from './driver';

/** A line that takes longer has not come, ms. */
const LIMIT = 30_000;

/** A line for people, and when it was on the terminal, ms since the epoch. */
export interface Line {
  text: string;
  at: number;
}

/** An executor at work in another process, and what it prints. */
export class Terminal {
  readonly lines: Line[] = [];
  private readonly waiting = new Set<(line: Line) => void>();

  /** @param killSignal what ends the process, and what it has started. */
  constructor(
    private readonly driving: Driving,
    private readonly killSignal: NodeJS.Signals = 'SIGKILL',
  ) {
    driving.done.catch(() => undefined);
    for (const stream of [driving.child.stdout!, driving.child.stderr!])
      createInterface(stream).on('line', (text) => {
        // The clock that a training reads, too.
        const line = { text, at: Date.now() };
        this.lines.push(line);
        for (const hear of this.waiting) hear(line);
      });
  }

  /** Waits for a line that is still to be printed. @param limit ms. */
  async line(wanted: RegExp, limit = LIMIT): Promise<Line> {
    let hear!: (line: Line) => void;
    const heard = new Promise<Line>((resolve) => (hear = (line) => wanted.test(line.text) && resolve(line)));
    this.waiting.add(hear);
    try {
      return await Promise.race([heard, this.end, this.late(limit)]);
    } finally {
      this.waiting.delete(hear);
    }
  }

  get done(): Promise<Timing & { out: string }> {
    return this.driving.done;
  }

  async pressCtrlC(): Promise<Timing> {
    this.driving.child.kill('SIGINT');
    return await this.driving.done;
  }

  kill(): void {
    this.driving.child.kill(this.killSignal);
  }

  protected async late(limit: number): Promise<never> {
    await sleep(limit, undefined, { ref: false });
    const last = this.lines.slice(-5).map(({ text }) => text);
    throw new Error(`nothing after ${limit / 1000} s: ${last.join('; ')}`);
  }

  private get end(): Promise<never> {
    return this.driving.done.then(() => {
      throw new Error('it has ended');
    });
  }
}
