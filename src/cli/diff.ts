import { Printer } from '../report/printer';
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
  printer = new Printer(options),
): Promise<void> {
  return reportOutcome(printer, () =>
    withRun(before, options, (a) =>
      withRun(after, options, async (b) => {
        const found = await compareRuns(a, b, (text) => printer.warn(text));
        for (const line of describeDifference(found)) printer.line(line);
        return found;
      }),
    ),
  );
}
