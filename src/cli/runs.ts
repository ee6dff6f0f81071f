import { resolveConfiguration } from '../config/configuration';
import { withOrigins } from '../config/sources/setting-origins';
import { Problem } from '../report/problem';
import { Printer } from '../report/printer';
import { sanitizeForTerminal } from '../report/terminal-text';
import { resolveRun } from '../run/find/find-run';
import { followRun } from '../run/follow/follow';
import { describeOutcome } from '../run/status/outcome';
import { isEnded } from '../run/record/liveness';
import type { RunRecord } from '../run/record/record';
import { createRunContext } from '../context/context';
import { showLogs } from '../run/status/show-logs';
import { showStatus } from '../run/status/show-status';
import { isOf, workspaceProjects, type NamedProject, type WhereOptions } from './named-run';
import { nxLibrary } from '../system/nx-library';
import { readNxJson } from '../workspace/nx-json';
import { reportOutcome } from './outcome';
import { exitCodeOf, UNKNOWN_EXIT_CODE } from './run-exit-code';
import type { RunContext } from '../context/types';

export interface RunsOptions extends WhereOptions {
  json?: boolean;
}

export interface RunsStatusOptions extends RunsOptions {
  watch?: boolean;
  interval?: string;
}

export interface RunsListOptions extends RunsStatusOptions {
  limit?: string;
}

export interface RunsLogsOptions extends RunsOptions {
  since?: string;
  tail?: string;
  follow?: boolean;
}

/** The exit code after Ctrl+C or SIGTERM; the run itself is not touched. */
const SIGNAL_EXIT_CODES = { SIGINT: 130, SIGTERM: 143 };

/** Lists the runs of a project. */
export function runsList(options: RunsListOptions, printer = printerOf(options)) {
  return withRuns(undefined, options, printer, async (context, signal) => {
    const limit = wholeNumber('--limit', options.limit);
    return { runs: await showStatus(context, { limit, watch: options.watch, interval: options.interval }, signal) };
  });
}

/** Shows a run in full. */
export function runsStatus(run: string, options: RunsStatusOptions, printer = printerOf(options)) {
  return withRuns(run, options, printer, async (context, signal) => ({
    runs: await showStatus(context, { run, watch: options.watch, interval: options.interval }, signal),
  }));
}

/** Waits until a run has ended, without its log. The exit code of the process becomes that of the run. */
export function runsWait(run: string | undefined, options: RunsOptions, printer = printerOf(options)) {
  return withRuns(run, options, printer, async (context, signal) => {
    const { record } = await resolveRun(context, run);
    const ended = await followRun(context, record, { signal, quiet: true, onState: () => {}, onLog: () => {} });
    return reportEnd(ended, printer);
  });
}

/** Shows the log of a run and follows it to its end. If the run has ended, its exit code becomes that of the process. */
export function runsLogs(run: string | undefined, options: RunsLogsOptions, printer = printerOf(options)) {
  const { since, follow } = options;
  return withRuns(run, options, printer, async (context, signal) => {
    const tail = wholeNumber('--tail', options.tail);
    const shown = await showLogs(context, { run, since, tail, follow }, signal);
    printer.endLog();
    return reportEnd(shown, printer);
  });
}

function reportEnd(run: RunRecord, printer: Printer): object {
  const { id, instance, outcome, exitCode, signal, startedAt, endedAt } = run;
  const facts = { run: id, instance, outcome, exitCode, signal, startedAt, endedAt };
  if (!isEnded(run)) return { ...facts, outcome: null };
  printer.line(`The training ${id} ${describeOutcome(run)}`);
  process.exitCode = exitCodeOf(run);
  return { ...facts, success: outcome === 'succeeded' };
}

function printerOf(options: RunsOptions): Printer {
  return new Printer({ json: options.json, plain: true });
}

/** Runs a command on the runs of a project. Its errors end the process with an exit code that no run has. */
async function withRuns(
  run: string | undefined,
  { project, ...options }: RunsOptions,
  printer: Printer,
  use: (context: RunContext, signal: AbortSignal) => Promise<object>,
): Promise<void> {
  const controller = new AbortController();
  let stoppedBy: keyof typeof SIGNAL_EXIT_CODES | undefined;
  const onSignal = (signal: keyof typeof SIGNAL_EXIT_CODES) => {
    stoppedBy ??= signal;
    controller.abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    await reportOutcome(printer, async () => {
      const { bucket, prefix, region, profile } = options;
      const given = Object.entries({ bucket, prefix, region, profile }).filter(([, value]) => value !== undefined);
      const { name, root } = await projectOf(run, project);
      const workspaceRoot = nxLibrary.workspaceRoot();
      const configuration = resolveConfiguration({
        workspaceRoot,
        projectName: name,
        projectRoot: root,
        nxJson: readNxJson(workspaceRoot),
        target: 'remote-status',
        options: Object.fromEntries(given),
      });
      const context = createRunContext(configuration, name, workspaceRoot, printer);
      try {
        return await use(context, controller.signal);
      } catch (error) {
        if (stoppedBy === undefined) throw withOrigins(error, configuration.sources ?? []);
        throw new Problem('DETACHED', 'Interrupted. The run was not stopped.');
      } finally {
        context.close();
      }
    });
  } catch (error) {
    const exitCode = stoppedBy === undefined ? UNKNOWN_EXIT_CODE : SIGNAL_EXIT_CODES[stoppedBy];
    throw Object.assign(error as Error, { exitCode });
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

/** Finds the project of a run: the one that is named, or the one whose name is in the run's id. */
async function projectOf(run: string | undefined, named: string | undefined): Promise<Required<NamedProject>> {
  const isId = run !== undefined && run !== 'last';
  if (named === undefined && !isId) {
    throw new Problem('PROJECT_MISSING', 'Neither a project nor the id of a run is given.', {
      next: 'Add --project=<name>, or the id of a run.',
    });
  }
  const found = await workspaceProjects((each) => (named === undefined ? isOf(run!, each) : each.name === named));
  const [project] = found;
  if (found.length === 1 && project.root !== undefined) return { name: project.name, root: project.root };
  const what =
    named === undefined
      ? `matches the name in ${sanitizeForTerminal(run!)}`
      : `is called ${sanitizeForTerminal(named)}`;
  throw found.length > 1
    ? new Problem(
        'PROJECT_AMBIGUOUS',
        `Several projects of this workspace match the name in ${sanitizeForTerminal(run!)}.`,
        {
          next: `Choose one with --project: ${found.map(({ name }) => sanitizeForTerminal(name)).join(', ')}.`,
        },
      )
    : new Problem('NO_PROJECT', `No project of this workspace ${what}.`, {
        next: 'To list the projects: nx show projects',
      });
}

function wholeNumber(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new Problem('OPTION_INVALID', `${option}=${sanitizeForTerminal(text)}: must be a whole number.`);
}
