import { Problem } from '../report/problem';
import type { Reporter } from '../report/reporter';

/** Does what a verb does and prints its machine-readable line, of a failure too. */
export async function reportOutcome(reporter: Reporter, work: () => Promise<object>): Promise<void> {
  try {
    reporter.result({ success: true, ...(await work()) });
  } catch (error) {
    if (error instanceof Problem)
      reporter.result({
        ...{ success: false, error: { code: error.code, message: error.message, aws: error.aws } },
        ...(error as { result?: object }).result,
      });
    throw error;
  }
}
