import type { Printer } from '../../report/printer';
import { formatDuration } from '../../report/units';
import { steadyNow } from '../../system/moment';

/** Between two signs of life, ms. */
const MESSAGE_INTERVAL_MS = 20_000;

/** Says what is waited for, and every so often for how long already. */
export class Waiting {
  private readonly started = steadyNow();
  private readonly timer: NodeJS.Timeout;
  private said = '';

  constructor(
    private readonly printer: Printer,
    private what: string,
  ) {
    this.timer = setInterval(
      () => this.printer.line(`${this.what}: ${formatDuration(steadyNow() - this.started)} so far`),
      MESSAGE_INTERVAL_MS,
    ).unref();
  }

  /** Says it now, once. @param what that it is something else by now. */
  say(what = this.what): void {
    this.what = what;
    if (this.said !== what) this.printer.line(what);
    this.said = what;
  }

  end(): void {
    clearInterval(this.timer);
  }
}
