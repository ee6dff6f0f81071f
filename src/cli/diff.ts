import { Reporter } from '../report/reporter';
import { compareRuns } from '../run/compare/runs';
import { describeDifference } from '../run/compare/describe';
import { withRun, type WhereOptions } from './named-run';
import { reportOutcome } from './outcome';

export interface DiffOptions extends WhereOptions {
  json?: boolean;
}

/** Shows what differs between two runs: what they were given, how they went, what they left. */
export function diff(
  before: string,
  after: string,
  options: DiffOptions,
  reporter = new Reporter(options),
): Promise<void> {
  return reportOutcome(reporter, () =>
    withRun(before, options, (a) =>
      withRun(after, options, async (b) => {
        const found = await compareRuns(a, b, (text) => reporter.warn(text));
        for (const line of describeDifference(found)) reporter.line(line);
        return found;
      }),
    ),
  );
}
