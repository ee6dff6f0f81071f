import { fileProblem } from '../report/file-problem';
import { Problem } from '../report/problem';
import type { Printer } from '../report/printer';

/** Does what a verb does and prints its machine-readable line, of a failure too. */
export async function reportOutcome(printer: Printer, work: () => Promise<object>): Promise<void> {
  try {
    printer.result({ success: true, ...(await work()) });
  } catch (error) {
    const problem = error instanceof Problem ? error : fileProblem(error);
    const { code = 'INTERNAL', message = String(error), aws } = problem ?? {};
    printer.result({ success: false, error: { code, message, aws }, ...(error as { result?: object }).result });
    throw error;
  }
}
