import type { Description } from '../config/description';
import { endOfFleet } from '../run/fleet/end-of-fleet';
import { launchFleet } from '../run/fleet/launch-fleet';
import type { Launched } from '../run/launch';
import { resumePoint } from '../run/resume';
import { scanProject } from '../run/scan-project';
import { openRuns, type RunsSession } from '../run/session';
import { planRun } from '../run/training';
import { commandOf } from '../workspace/invocation';
import type { Target } from './run-target';
import type { MadeRun, StartOptions } from './start-training';

/** Starts a training that a fleet goes on with, with nobody there; or finds the one that is the same. */
export async function startWithFleet(
  target: Target,
  description: Description,
  options: StartOptions,
  then: (session: RunsSession, launched: Launched, made: MadeRun) => Promise<object>,
): Promise<object> {
  const { configuration, context, reporter, project, workspace, signal } = target;
  const rerun = options.rerun ?? false;
  const session = openRuns(configuration, project, context.root, reporter);
  try {
    const scanned = await scanProject(workspace);
    const restore = options.resume ? await resumePoint(session, options.resume, false) : null;
    const planned = await planRun(configuration, project, scanned, context.root, {
      ...{ rerun, detached: true, restore, aws: session.aws },
    });
    target.onInterrupt(
      () =>
        `Interrupted while the fleet was being made. Go on: the same command. What is left ends itself; see it with npx nx-ec2 list.`,
    );
    const launched = await launchFleet(session, description, workspace, planned, {
      ...{ signal, scanned, rerun, wait: configuration.instance.wait },
      onMade: (run) =>
        target.onInterrupt(
          () =>
            `Detached: the fleet of ${run} goes on.\n` +
            `  come back:  the same command\n` +
            `  stop it:    ${commandOf(context, 'remote-cancel')} --run=${run}`,
        ),
    });
    return await then(session, launched, {
      recovery: null,
      seeOff: (run) => {
        target.onInterrupt(() => 'Interrupted: the training has ended, and its fleet is deleted by its instance.');
        return endOfFleet(session, run, description, signal);
      },
    });
  } finally {
    session.close();
  }
}
