import type { ExecutorContext } from '@nx/devkit';
import { withOrigins } from '../../config/sources/setting-origins';
import { resolveConfiguration } from '../../config/configuration';
import { Problem } from '../../report/problem';
import type { Workspace } from '../../project/scan-project';
import { Printer } from '../../report/printer';
import { takeCacheFailure } from '../../system/cache-file';
import { SignalHandler, type Stop } from './signal-handler';
import { asTyped, typedOptions } from '../../workspace/typed-options';
import { assertNoForeignWords, assertNoPassThrough } from './command-line-words';
import { nxCommandLine, assertKnownConfiguration } from '../../workspace/invocation';
import { fileProblem } from '../../report/file-problem';
import type { Configuration } from '../../config/settings/types';
import { assertNoEmptyOption, textOptions } from '../../config/schema/target-options';
import type { TargetName } from '../../config/schema/executor-options';
import { selectingOptions } from '../../config/schema/selecting-options';
import { repeatOptions } from '../../report/repeated-options';

/** What every executor of ours works with. */
export interface Target {
  configuration: Configuration;
  context: ExecutorContext;
  project: string;
  /** The same as what a scan and a push work with. */
  workspace: Workspace;
  printer: Printer;
  /** Aborted by the first signal. */
  signal: AbortSignal;
  /**
   * From now on: what is said at a signal, before anything is given up.
   * @param stop how what continues is stopped, where it can be.
   */
  answerSignal(say: () => string, stop?: Stop): void;
}

interface ReportingOptions {
  verbose?: boolean;
  json?: boolean;
}

/**
 * Runs one executor: validates its options, hands it what it works with, turns errors into messages, and ends with
 * `{ success }`. A signal means that this side leaves; what runs on the instance is stopped only by a second one
 * within two seconds, or where the target says so.
 * @param given as Nx hands them over; `recipe` gets them with texts as they were typed.
 * @param plain the target is cacheable: what it prints is replayed, so nothing is drawn in place.
 */
export function runTarget<O extends ReportingOptions>(
  name: TargetName,
  given: O,
  context: ExecutorContext,
  plain: boolean,
  recipe: (target: Target, options: O) => Promise<object>,
): Promise<{ success: boolean }> {
  const typed = typedOptions(context);
  const options = textOptions(name, { ...(given as object) }, (key, value) => asTyped(value, typed[key])) as O &
    Record<string, unknown>;
  return repeatOptions(selectingOptions(options), () => runWith(name, options, context, plain, recipe));
}

async function runWith<O extends ReportingOptions>(
  name: TargetName,
  options: O & Record<string, unknown>,
  context: ExecutorContext,
  plain: boolean,
  recipe: (target: Target, options: O) => Promise<object>,
): Promise<{ success: boolean }> {
  const printer = new Printer({ verbose: options.verbose, json: options.json, plain, project: context.projectName });
  const signals = new SignalHandler(printer);
  const { signal } = signals;
  let work: Promise<object> | undefined;
  let configuration: Configuration | undefined;
  try {
    configuration = configurationOf(name, context, options);
    const project = context.projectName!;
    const { root: workspaceRoot, projectGraph } = context;
    const workspace = { workspaceRoot, projectGraph, project, configuration, printer };
    const target: Target = {
      configuration,
      context,
      project,
      workspace,
      printer,
      signal,
      answerSignal: (say, stop) => signals.answerSignal(say, stop),
    };
    work = recipe(target, options);
    const result = await signals.race(work);
    const trouble = takeCacheFailure();
    if (trouble) printer.warn(trouble);
    printer.result({ success: true, project, target: name, ...result });
    return { success: true };
  } catch (error) {
    if (signal.aborted) {
      const { code, message, stop } = await signals.outcome();
      printer.result({ success: false, project: context.projectName, target: name, error: { code, message } });
      printer.silence();
      // Unfinished work (an upload, a staging directory) cleans up, within the time that Nx grants.
      await withTimeout(CLEAN_UP_TIMEOUT_MS, Promise.allSettled([stop ? stop() : work, printer.flush()]));
    } else reportFailure({ target: name, context, printer, error, configuration });
    return { success: false };
  } finally {
    printer.endLog();
    // A Ctrl+C in a terminal comes as several signals: after the first, the others must not kill the clean-up.
    if (!signal.aborted) {
      await printer.flush();
      signals.close();
    }
  }
}

/** The configuration of a target. @throws Problem where the command line or the configuration is not valid. */
function configurationOf(name: TargetName, context: ExecutorContext, options: Record<string, unknown>): Configuration {
  const projectName = context.projectName!;
  assertKnownConfiguration(context);
  assertNoPassThrough(name, nxCommandLine());
  assertNoForeignWords(name, context);
  assertNoEmptyOption(name, options);
  return resolveConfiguration({
    workspaceRoot: context.root,
    projectName,
    projectRoot: context.projectsConfigurations.projects[projectName].root,
    nxJson: context.nxJsonConfiguration ?? {},
    options,
    target: name,
  });
}

/** Prints an error as its message, and as the result where a program reads it. */
function reportFailure({
  target,
  context: { projectName: project },
  printer,
  error,
  configuration,
}: {
  target: TargetName;
  context: ExecutorContext;
  printer: Printer;
  error: unknown;
  configuration?: Configuration;
}): void {
  const located = withOrigins(error, configuration?.sources ?? []);
  const problem = located instanceof Problem ? located : fileProblem(error);
  const message = printer.nameProject(problem?.message ?? (error as Error).stack ?? String(error));
  printer.line(`${printer.strong('error:')} ${message}`);
  printer.result({
    success: false,
    project,
    target,
    error: { code: problem?.code ?? 'INTERNAL', message, aws: problem?.aws },
    ...(error as { result?: object }).result,
  });
}

/** After a signal Nx 24 waits 5 s before it kills; we are gone before, ms. */
const CLEAN_UP_TIMEOUT_MS = 2_500;

/** Waits for work, not longer than so many ms. */
function withTimeout(ms: number, work: Promise<unknown>): Promise<unknown> {
  return Promise.race([work, new Promise((resolve) => setTimeout(resolve, ms).unref())]);
}
