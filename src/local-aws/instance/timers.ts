/** The longest that a timer of Node's takes, ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** One thing that is to happen at a time, for each name. Where it fails later (the disk is full), it is only said. */
export class Timers {
  private readonly waiting = new Map<string, NodeJS.Timeout>();

  /** @param at ms since the epoch; what has passed happens now. It takes the place of what was to happen before. */
  at(name: string, at: number, act: () => void): void {
    this.clear(name);
    const left = at - Date.now();
    if (left <= 0) return act();
    if (left === Infinity) return;
    const timer = setTimeout(
      () => {
        this.waiting.delete(name);
        orSay(() => this.at(name, at, act));
      },
      Math.min(left, MAX_TIMER_MS),
    );
    timer.unref();
    this.waiting.set(name, timer);
  }

  clear(name: string): void {
    clearTimeout(this.waiting.get(name));
    this.waiting.delete(name);
  }

  close(): void {
    for (const timer of this.waiting.values()) clearTimeout(timer);
    this.waiting.clear();
  }
}

/** Nobody waits for what a timer does: an error of it would end local AWS with all that its instances run. */
export function orSay(act: () => void): void {
  try {
    act();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
  }
}
