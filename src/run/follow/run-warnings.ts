import type { Printer } from '../../report/printer';
import { sanitizeForTerminal } from '../../report/terminal-text';
import type { RunRecord } from '../record/record';

/** Warns of what the instance could not do for a run that has ended, such as to save a checkpoint. */
export function reportWarnings(
  printer: Pick<Printer, 'warn'>,
  { trouble, warnings }: Pick<RunRecord, 'trouble' | 'warnings'>,
): void {
  for (const warning of [...(trouble ? [trouble] : []), ...(warnings ?? [])])
    printer.warn(sanitizeForTerminal(warning));
}
