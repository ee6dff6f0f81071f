import type { LaunchSpec } from '../../config/schema/launch-spec';
import { waitForFleetDeletion } from '../../run/fleet/wait-fleet-gone';
import { launchFleet } from '../../run/fleet/launch-fleet';
import type { StartedRun } from '../../run/start/start-run';
import { scanProject } from '../../project/scan-project';
import { createRunContext } from '../../context/context';
import { assertVolume } from '../../project/assert-ready';
import { targetCommand } from '../../workspace/invocation';
import type { Target } from '../lib/run-target';
import type { RunContext } from '../../context/types';
import { planTraining } from './plan-training';
import type { RunInstanceLifecycle, StartOptions } from './types';
import { instancesList } from '../../report/shell-words';

/** Starts a training that a fleet recovers without a client, or finds a run of the same training. */
export async function startWithFleet(
  target: Target,
  launchSpec: LaunchSpec,
  options: StartOptions,
  then: (runContext: RunContext, started: StartedRun, made: RunInstanceLifecycle) => Promise<object>,
): Promise<object> {
  const { configuration, context, printer, project, workspace, signal } = target;
  const rerun = options.rerun ?? false;
  const runContext = createRunContext(configuration, project, context.root, printer);
  try {
    const scanned = await scanProject(workspace);
    // AWS's answer tells its time, by which the run is named and its deadline is counted: this machine's may be wrong.
    await runContext.aws.call('GetCallerIdentity', {}, signal);
    const planned = await planTraining(target, runContext, scanned, { ...options, detached: true });
    assertVolume(launchSpec, planned.needs(), printer);
    target.answerSignal(
      () =>
        `Interrupted while the fleet was being created. Run the same command to continue; otherwise the fleet deletes itself. To see what was created: ${instancesList()}`,
    );
    const started = await launchFleet(runContext, {
      launchSpec,
      workspace,
      planned,
      signal,
      scanned,
      rerun,
      wait: configuration.instance.startupTimeout,
      onLaunched: (run) =>
        target.answerSignal(
          () =>
            `Detached: the fleet of ${run} continues.\n` +
            `  come back:  the same command\n` +
            `  stop it:    ${targetCommand(context, 'remote-cancel')} --run=${run}`,
        ),
    });
    return await then(runContext, started, {
      recovery: null,
      waitForShutdown: (run) => {
        target.answerSignal(() => 'Interrupted. The training has ended, and its instance deletes the fleet.');
        return waitForFleetDeletion(runContext, run, launchSpec, signal);
      },
    });
  } finally {
    runContext.close();
  }
}
