import type { ExecutorContext } from '@nx/devkit';
import { resolveConfiguration, type Configuration, type TargetName } from '../config/configuration';
import { Problem } from '../report/problem';
import type { Workspace } from '../run/scan-project';
import { Reporter } from '../report/reporter';
import { refusePassThrough, refuseUnknownConfiguration } from '../workspace/invocation';

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
  /** Called at a signal, before anything is given up: its text is the last thing that is printed. */
  onInterrupt(say: () => string): void;
}

interface ReportingOptions {
  verbose?: boolean;
  json?: boolean;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** After a signal Nx 24 waits 5 s before it kills; we are gone before, ms. */
const CLEAN_UP = 3_000;

/** An interrupted target: nothing more to print, not a success. */
class Interrupted extends Error {}

/**
 * Runs one executor: validates its options, hands it what it works with, turns errors into messages, and ends with
 * `{ success }`. Whatever it does, a signal means that this side leaves; nothing on the instance is stopped by it.
 * @param plain the target is cacheable: what it prints is replayed, so nothing is drawn in place.
 */
export async function runTarget(
  name: TargetName,
  options: ReportingOptions & Record<string, unknown>,
  context: ExecutorContext,
  plain: boolean,
  recipe: (target: Target) => Promise<object>,
): Promise<{ success: boolean }> {
  const reporter = new Reporter({ verbose: options.verbose, json: options.json, plain });
  const controller = new AbortController();
  let say: () => string = () => 'Interrupted; nothing was started.';
  const interrupt = () => {
    if (controller.signal.aborted) return;
    reporter.line(`\n${say()}`);
    reporter.silence();
    controller.abort(new Interrupted());
  };
  for (const signal of SIGNALS) process.on(signal, interrupt);
  process.on('disconnect', interrupt);
  const interrupted = new Promise<never>((_, reject) =>
    controller.signal.addEventListener('abort', () => reject(controller.signal.reason)),
  );
  interrupted.catch(() => undefined);
  let work: Promise<object> | undefined;
  try {
    const project = context.projectName!;
    const projectRoot = context.projectsConfigurations.projects[project].root;
    refuseUnknownConfiguration(context);
    refusePassThrough();
    const configuration = resolveConfiguration({
      workspaceRoot: context.root,
      projectName: project,
      projectRoot,
      nxJson: context.nxJsonConfiguration ?? {},
      options,
      target: name,
    });
    work = recipe({
      configuration,
      context,
      project,
      workspace: { workspaceRoot: context.root, projectGraph: context.projectGraph, project, configuration, reporter },
      reporter,
      signal: controller.signal,
      onInterrupt: (text) => (say = text),
    });
    const result = await Promise.race([work, interrupted]);
    reporter.result({ success: true, project, target: name, ...result });
    return { success: true };
  } catch (error) {
    if (controller.signal.aborted) {
      // What was begun gives itself up (an upload, a staging directory), within what Nx grants.
      await Promise.race([
        work?.catch(() => undefined),
        new Promise((resolve) => setTimeout(resolve, CLEAN_UP).unref()),
      ]);
      return { success: false };
    }
    const problem = error instanceof Problem ? error : undefined;
    const message = problem?.message ?? (error as Error).stack ?? String(error);
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
    // A Ctrl+C in a terminal comes as several signals: after the first, the others must not kill the clean-up.
    if (!controller.signal.aborted) {
      for (const signal of SIGNALS) process.off(signal, interrupt);
      process.off('disconnect', interrupt);
    }
  }
}
