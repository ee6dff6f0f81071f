const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/**
 * A Ctrl+C comes several times: from the terminal, and from npm and Nx, which pass it on, Nx when it has looked up all
 * processes of the tree. What comes within so many ms of the one before is no other press.
 */
const DEBOUNCE_MS = 700;
/**
 * The signal of a press. A closed terminal, the time limit of a CI job and `timeout` send others, to all processes at
 * once, and Nx passes them on when it can: however often they come, they do not mean to stop the run.
 */
const PRESS = 'SIGINT';
/** A second press within this time, ms, stops the run. It does not reach us through Nx's pseudo-terminal: `Printer.isPseudoTerminal`. */
const DOUBLE_PRESS_MS = 2_000;

/** Tells whether a person has pressed Ctrl+C once or twice, from the signals that a target gets; the end of Nx counts as one. */
export class ProcessSignals {
  private first = 0;
  /** When the last one of a press came. */
  private pressed: number | undefined;
  private second = false;
  private wake: (() => void) | undefined;
  private readonly handler = (signal?: NodeJS.Signals) => this.take(signal);

  constructor(
    private readonly on: {
      /** By which signal; none where Nx went away. */
      first: (signal?: NodeJS.Signals) => void;
      again: (signal?: NodeJS.Signals) => void;
      /** After the first. */
      detach: () => void;
    },
  ) {
    for (const signal of SIGNALS) process.on(signal, this.handler);
    process.on('disconnect', this.handler);
  }

  close(): void {
    for (const signal of SIGNALS) process.off(signal, this.handler);
    process.off('disconnect', this.handler);
  }

  /** Whether there was a second one; waits for it as long as it may still come. */
  async wantsStop(immediate: boolean): Promise<boolean> {
    if (immediate || this.second) return true;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      setTimeout(resolve, Math.max(0, this.first + DOUBLE_PRESS_MS - Date.now()));
    });
    return this.second;
  }

  private take(signal?: NodeJS.Signals): void {
    const now = Date.now();
    if (!this.first) {
      this.first = now;
      this.on.first(signal);
      this.on.detach();
    } else if (signal === PRESS && this.isSecondPress(now)) {
      this.second = true;
      this.on.again(signal);
      this.wake?.();
    }
    if (signal === PRESS) this.pressed = now;
  }

  private isSecondPress(now: number): boolean {
    if (this.second || this.pressed === undefined) return false;
    return now - this.pressed > DEBOUNCE_MS && now - this.first < DOUBLE_PRESS_MS;
  }
}
