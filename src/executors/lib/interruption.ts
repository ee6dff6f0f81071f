import type { Printer } from '../../report/printer';
import { Interrupts } from './interrupts';

/** How a signal stops what runs on the instance. */
export interface Stop {
  /** By the first signal; else by a second one within two seconds. */
  immediate: boolean;
  say: string;
  stop: () => Promise<unknown>;
}

/** An interrupted target: nothing more to print, not a success. */
class Interrupted extends Error {}

/** What a signal does to one target: says what becomes of what it began, and ends this side of it. */
export class Interruption {
  private readonly controller = new AbortController();
  private readonly interrupts: Interrupts;
  private readonly interrupted: Promise<never>;
  private say: () => string = () => 'Interrupted. Nothing was started.';
  private stop?: Stop;

  constructor(private readonly printer: Printer) {
    this.interrupts = new Interrupts({
      first: (by) => printer.answer(by, this.firstAnswer()),
      again: (by) => this.stop && printer.answer(by, this.stop.say),
      detach: () => this.controller.abort(new Interrupted()),
    });
    this.interrupted = new Promise<never>((_, reject) =>
      this.signal.addEventListener('abort', () => reject(this.signal.reason)),
    );
    this.interrupted.catch(() => undefined);
  }

  /** Aborted by the first signal. */
  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** From now on: what is said at a signal, and how what continues is stopped, where it can be. */
  onInterrupt(say: () => string, stop?: Stop): void {
    this.say = say;
    this.stop = stop;
  }

  /** The result of the work; rejects at once when it is interrupted. */
  race<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.interrupted]);
  }

  /**
   * What was meant by the signals. Where something can be stopped, it waits for a second one as long as that may still
   * come; `stop` is there if it is to be stopped.
   */
  async outcome(): Promise<{ code: 'STOPPED' | 'DETACHED'; message: string; stop?: Stop['stop'] }> {
    const { stop } = this;
    if (stop && (await this.interrupts.wantsStop(stop.immediate)))
      return { code: 'STOPPED', message: stop.say, stop: stop.stop };
    return { code: 'DETACHED', message: this.say() };
  }

  close(): void {
    this.interrupts.close();
  }

  private firstAnswer(): string {
    if (this.stop?.immediate) return this.stop.say;
    const isStoppedByAnother = this.stop && !this.printer.isPseudoTerminal;
    return `${this.say()}${isStoppedByAnother ? `\nPress Ctrl+C again within 2 s to stop it.` : ''}`;
  }
}
