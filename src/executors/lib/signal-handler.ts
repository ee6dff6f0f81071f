import type { Printer } from '../../report/printer';
import { repeatingHere } from '../../report/repeated-options';
import { ProcessSignals } from './process-signals';

/** How a signal stops what runs on the instance. */
export interface Stop {
  /** By the first signal; else by a second one within two seconds. */
  immediate: boolean;
  say: string;
  stop: () => Promise<unknown>;
}

/** A target that got a signal: nothing more to print, not a success. */
class GotSignal extends Error {}

/** Handles the signals that a target gets: says what becomes of what it started, and ends the client. */
export class SignalHandler {
  private readonly controller = new AbortController();
  private readonly signals: ProcessSignals;
  private readonly aborted: Promise<never>;
  private say: () => string = () => 'Interrupted. Nothing was started.';
  private stop?: Stop;

  constructor(private readonly printer: Printer) {
    this.signals = new ProcessSignals({
      first: repeatingHere((by) => printer.answer(by, this.firstAnswer())),
      again: repeatingHere((by) => this.stop && printer.answer(by, this.stop.say)),
      detach: () => this.controller.abort(new GotSignal()),
    });
    this.aborted = new Promise<never>((_, reject) =>
      this.signal.addEventListener('abort', () => reject(this.signal.reason)),
    );
    this.aborted.catch(() => undefined);
  }

  /** Aborted by the first signal. */
  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** From now on: what a signal prints, and how it stops what runs on the instance, if it can be stopped. */
  answerSignal(say: () => string, stop?: Stop): void {
    this.say = say;
    this.stop = stop;
  }

  /** The result of the work; rejects at once when a signal comes. */
  race<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.aborted]);
  }

  /**
   * Whether the signals mean to stop what runs on the instance, or to detach from it. If it can be stopped, waits for a
   * second signal as long as that still counts.
   */
  async outcome(): Promise<{ code: 'STOPPED' | 'DETACHED'; message: string; stop?: Stop['stop'] }> {
    const { stop } = this;
    if (stop && (await this.signals.wantsStop(stop.immediate)))
      return { code: 'STOPPED', message: stop.say, stop: stop.stop };
    return { code: 'DETACHED', message: this.say() };
  }

  close(): void {
    this.signals.close();
  }

  private firstAnswer(): string {
    if (this.stop?.immediate) return this.stop.say;
    const canStopBySecondPress = this.stop && !this.printer.isPseudoTerminal;
    return `${this.say()}${canStopBySecondPress ? `\nTo stop it, wait a second and press Ctrl+C again.` : ''}`;
  }
}
