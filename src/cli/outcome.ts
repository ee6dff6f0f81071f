import { fileProblem } from '../report/file-problem';
import { Problem } from '../report/problem';
import type { Reporter } from '../report/reporter';

/** Does what a verb does and prints its machine-readable line, of a failure too. */
export async function reportOutcome(reporter: Reporter, work: () => Promise<object>): Promise<void> {
  try {
    reporter.result({ success: true, ...(await work()) });
  } catch (error) {
    const problem = error instanceof Problem ? error : fileProblem(error);
    const { code = 'INTERNAL', message = String(error), aws } = problem ?? {};
    reporter.result({ success: false, error: { code, message, aws }, ...(error as { result?: object }).result });
    throw error;
  }
}
