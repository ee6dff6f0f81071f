import type { Printer } from './printer';

/** A printer whose lines are details: for steps that are reported by fewer lines of the caller's. */
export function withoutLines(printer: Printer): Printer {
  return Object.assign(Object.create(printer) as Printer, { line: (text: string) => printer.detail(text) });
}
