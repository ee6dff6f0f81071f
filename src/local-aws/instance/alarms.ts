/** setTimeout counts to 2^31-1 ms only; SSM's delivery timeout may be 30 days. */
const LONGEST = 2 ** 31 - 1;

/** Things to do later. None keeps the process alive, and all are forgotten together. */
export class Alarms {
  private readonly timers = new Set<NodeJS.Timeout>();
  private cleared = false;

  /** Calls `act` after `ms`; returns what calls it off. */
  after(ms: number, act: () => void): () => void {
    let timer: NodeJS.Timeout | undefined;
    let left = Math.max(0, ms);
    const arm = () => {
      if (this.cleared) return;
      const step = Math.min(left, LONGEST);
      left -= step;
      timer = setTimeout(() => {
        this.timers.delete(timer!);
        if (left > 0) arm();
        else act();
      }, step);
      timer.unref();
      this.timers.add(timer);
    };
    arm();
    return () => {
      clearTimeout(timer);
      this.timers.delete(timer!);
    };
  }

  /** Calls everything off, for good. */
  clear(): void {
    this.cleared = true;
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
  }
}
