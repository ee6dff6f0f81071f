import type { ExecutorContext } from '@nx/devkit';
import { withOrigins } from '../../config/setting-origins';
import { resolveConfiguration } from '../../config/configuration';
import { Problem } from '../../report/problem';
import type { Workspace } from '../../project/scan-project';
import { Reporter } from '../../report/reporter';
import { takeCacheFailure } from '../../system/cache-file';
import { Interrupts } from './interrupts';
import { asTyped, typedOptions } from '../../workspace/typed-options';
import { assertNoForeignWords, assertNoPassThrough } from './command-line-words';
import { nxCommandLine, assertKnownConfiguration } from '../../workspace/invocation';
import { fileProblem } from '../../report/file-problem';
import type { Configuration } from '../../config/types';
import { assertNoEmptyOption, textOptions, type TargetName } from '../../config/target-options';

/** What every executor of ours works with. */
export interface Target {
  configuration: Configuration;
  context: ExecutorContext;
  project: string;
  /** The same as what a scan and a push work with. */
  workspace: Workspace;
  reporter: Reporter;
  /** Aborted by the first signal; the reason says which. */
  signal: AbortSignal;
  /**
   * From now on: what is said at a signal, before anything is given up.
   * @param stop how what goes on is stopped, where it can be.
   */
  onInterrupt(say: () => string, stop?: Stop): void;
}

/** How a signal stops what runs on the instance. */
export interface Stop {
  /** By the first signal; else by a second one within two seconds. */
  immediate: boolean;
  say: string;
  stop: () => Promise<unknown>;
}

interface ReportingOptions {
  verbose?: boolean;
  json?: boolean;
}

/** An interrupted target: nothing more to print, not a success. */
class Interrupted extends Error {}

/**
 * Runs one executor: validates its options, hands it what it works with, turns errors into messages, and ends with
 * `{ success }`. A signal means that this side leaves; what runs on the instance is stopped only by a second one
 * within two seconds, or where the target says so.
 * @param given as Nx hands them over; `recipe` gets them with texts as they were typed.
 * @param plain the target is cacheable: what it prints is replayed, so nothing is drawn in place.
 */
export async function runTarget<O extends ReportingOptions>(
  name: TargetName,
  given: O,
  context: ExecutorContext,
  plain: boolean,
  recipe: (target: Target, options: O) => Promise<object>,
): Promise<{ success: boolean }> {
  const typed = typedOptions(context);
  const options = textOptions(name, { ...(given as object) }, (key, value) => asTyped(value, typed[key])) as O &
    Record<string, unknown>;
  const reporter = new Reporter({ verbose: options.verbose, json: options.json, plain, project: context.projectName });
  const controller = new AbortController();
  let say: () => string = () => 'Interrupted; nothing was started.';
  let stop: Stop | undefined;
  const interrupts = new Interrupts({
    first: (by) =>
      reporter.answer(
        by,
        stop?.immediate
          ? stop.say
          : `${say()}${stop && !reporter.isPseudoTerminal ? `\nOnce more within 2 s, and it is stopped.` : ''}`,
      ),
    again: (by) => stop && reporter.answer(by, stop.say),
    detach: () => controller.abort(new Interrupted()),
  });
  const interrupted = new Promise<never>((_, reject) =>
    controller.signal.addEventListener('abort', () => reject(controller.signal.reason)),
  );
  interrupted.catch(() => undefined);
  let work: Promise<object> | undefined;
  let configuration: Configuration | undefined;
  try {
    const project = context.projectName!;
    const projectRoot = context.projectsConfigurations.projects[project].root;
    assertKnownConfiguration(context);
    assertNoPassThrough(name, nxCommandLine());
    assertNoForeignWords(name, context);
    assertNoEmptyOption(name, options);
    configuration = resolveConfiguration({
      workspaceRoot: context.root,
      projectName: project,
      projectRoot,
      nxJson: context.nxJsonConfiguration ?? {},
      options,
      target: name,
    });
    work = recipe(
      {
        configuration,
        context,
        project,
        workspace: {
          workspaceRoot: context.root,
          projectGraph: context.projectGraph,
          project,
          configuration,
          reporter,
        },
        reporter,
        signal: controller.signal,
        onInterrupt: (text, how) => {
          say = text;
          stop = how;
        },
      },
      options,
    );
    const result = await Promise.race([work, interrupted]);
    const trouble = takeCacheFailure();
    if (trouble) reporter.warn(trouble);
    reporter.result({ success: true, project, target: name, ...result });
    return { success: true };
  } catch (error) {
    if (controller.signal.aborted) {
      // What was begun gives itself up (an upload, a staging directory), within what Nx grants.
      const asked = await interrupts.wantsStop(stop?.immediate ?? false);
      reporter.result({
        success: false,
        project: context.projectName,
        target: name,
        error: { code: asked ? 'STOPPED' : 'DETACHED', message: say() },
      });
      reporter.silence();
      await withTimeout(CLEAN_UP, asked ? stop?.stop() : work);
      return { success: false };
    }
    const located = withOrigins(error, configuration?.sources ?? []);
    const problem = located instanceof Problem ? located : fileProblem(error);
    const message = reporter.nameProject(problem?.message ?? (error as Error).stack ?? String(error));
    reporter.line(`${reporter.strong('error:')} ${message}`);
    reporter.result({
      success: false,
      project: context.projectName,
      target: name,
      error: { code: problem?.code ?? 'INTERNAL', message, aws: problem?.aws },
      ...(error as { result?: object }).result,
    });
    return { success: false };
  } finally {
    reporter.endLog();
    // A Ctrl+C in a terminal comes as several signals: after the first, the others must not kill the clean-up.
    if (!controller.signal.aborted) interrupts.close();
  }
}

/** After a signal Nx 24 waits 5 s before it kills; we are gone before, ms. */
const CLEAN_UP = 2_500;

/** Waits for what may fail, not longer than so many ms. */
function withTimeout(ms: number, work: Promise<unknown> | undefined): Promise<unknown> {
  return Promise.race([
    work?.catch(() => undefined),
    new Promise((resolve) => setTimeout(resolve, work ? ms : 0).unref()),
  ]);
}
