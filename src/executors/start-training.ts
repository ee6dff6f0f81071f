import { describeFiles } from '../run/describe-files';
import { launch, type Launched } from '../run/launch';
import { checkOutputs } from '../run/check-outputs';
import { resumePoint } from '../run/resume';
import { scanProject } from '../run/scan-project';
import type { Recovery } from '../run/recover';
import type { RunRecord } from '../run/record';
import { openSession, type RunsSession } from '../run/session';
import { planRun } from '../run/training';
import { commandOf } from '../workspace/invocation';
import type { Target } from './run-target';

/** Options of the targets that start a training. */
export interface StartOptions {
  rerun?: boolean;
  resume?: string;
  dryRun?: boolean;
  force?: boolean;
}

/** What comes with a run whose instance was made for it. */
export interface MadeRun {
  /** How it is gone on with when its instance is taken away; null: not from here. */
  recovery: Recovery | null;
  /** Says what becomes of its instance, and waits for it. */
  seeOff(run: RunRecord): Promise<void>;
}

/**
 * Starts a training, or finds the one that is the same, and hands it over with a session that ends with `then`. With
 * `--dryRun` the files are listed instead.
 * @param detached it is to go on without a client.
 */
export async function startTraining(
  target: Target,
  options: StartOptions,
  detached: boolean,
  then: (session: RunsSession, launched: Launched, made?: MadeRun) => Promise<object>,
): Promise<object> {
  const { configuration, context, reporter, project, workspace, signal } = target;
  checkOutputs(context.root, configuration);
  if (options.dryRun) {
    const scanned = await scanProject(workspace);
    await planRun(configuration, project, scanned, context.root, { rerun: false, detached, restore: null, aws: null });
    return describeFiles(reporter, scanned);
  }
  target.onInterrupt(() => 'Interrupted before the training was started.');
  if ('described' in configuration.instance && configuration.instance.described.recovery === 'fleet') {
    const { startWithFleet } = await import('./start-with-fleet.js');
    return startWithFleet(target, configuration.instance.described, options, then);
  }
  if ('described' in configuration.instance) {
    const { startOnMade } = await import('./start-on-made.js');
    return startOnMade(target, configuration.instance.described, options, detached, then);
  }
  // Files are looked at while AWS is asked who and where.
  const opening = openSession(configuration, project, context.root, reporter, 'store');
  const scanning = scanProject(workspace);
  scanning.catch(() => undefined);
  const session = await opening;
  try {
    const scanned = await scanning;
    const restore = options.resume ? await resumePoint(session, options.resume, !detached) : null;
    const rerun = options.rerun ?? false;
    const planned = await planRun(configuration, project, scanned, context.root, {
      ...{ rerun, detached, restore },
      aws: session.aws,
    });
    const launched = await launch(session, workspace, planned, {
      ...{ signal, scanned, rerun },
      force: options.force,
      onSend: () =>
        target.onInterrupt(
          () =>
            `Interrupted while the training was being started. See whether it runs: ${commandOf(context, 'remote-status')}`,
        ),
    });
    return await then(session, launched);
  } finally {
    session.close();
  }
}
