import { describeFiles } from '../../project/describe-files';
import { findDuplicateRun } from '../../run/find/find-run';
import { startRun, type StartedRun } from '../../run/start/start-run';
import { checkOutputs } from '../../project/check-outputs';
import { scanProject, type Scanned } from '../../project/scan-project';
import { uploadDuringScan } from '../../project/sync-project';
import { ScannedContents } from '../../snapshot/scanned-contents';
import type { EarlyUpload } from '../../sync/transport/early-upload';
import { nextTurn } from '../../system/sleep';
import { createRunContext, createInstanceContext } from '../../context/context';
import { planRun } from '../../run/start/plan-run';
import { targetCommand } from '../../workspace/invocation';
import { changeKey } from '../../workspace/key-change';
import type { Target } from '../lib/run-target';
import type { RunContext, InstanceContext } from '../../context/types';
import { planTraining } from './plan-training';
import type { StartOptions, RunInstanceLifecycle } from './types';

/**
 * Starts a training, or finds the one that is the same, and hands it over with a context that ends with `then`. With
 * `--dryRun` the files are listed instead.
 * @param detached the run continues without a client.
 */
export async function startTraining(
  target: Target,
  options: StartOptions,
  detached: boolean,
  then: (runContext: RunContext, started: StartedRun, made?: RunInstanceLifecycle) => Promise<object>,
): Promise<object> {
  const { configuration, context, printer, project, workspace } = target;
  checkOutputs(context.root, configuration);
  if (options.dryRun) {
    const scanned = await scanProject(workspace);
    const request = { rerun: false, detached, restore: null, aws: null };
    const { environment } = await planRun(configuration, project, scanned, context.root, request);
    printer.detail(environment);
    return describeFiles(printer, scanned);
  }
  target.answerSignal(() => 'Interrupted before the training was started.');
  if (options.rerun) changeKey(context.root, configuration.projectRoot);
  if ('launchSpec' in configuration.instance && configuration.instance.launchSpec.recovery === 'fleet') {
    const { startWithFleet } = await import('./start-with-fleet.js');
    return startWithFleet(target, configuration.instance.launchSpec, options, then);
  }
  if ('launchSpec' in configuration.instance && configuration.instance.launchSpec.pool) {
    const { pool } = configuration.instance.launchSpec;
    const { startInPool } = await import('./start-in-pool.js');
    return startInPool(target, { ...configuration.instance.launchSpec, pool }, options, detached, then);
  }
  if ('launchSpec' in configuration.instance) {
    const { startOnLaunchedInstance } = await import('./start-on-launched-instance.js');
    return startOnLaunchedInstance(target, configuration.instance.launchSpec, options, detached, then);
  }
  if (configuration.train.nodes > 1) {
    const { startOnExistingNodes } = await import('./start-on-existing-nodes.js');
    return startOnExistingNodes(target, options, detached, then);
  }
  // Files are looked at while AWS is asked who and where.
  const opening = createInstanceContext(configuration, project, context.root, printer, 'store');
  const contents = new ScannedContents();
  const scanning = nextTurn().then(() => scanProject(workspace, contents));
  scanning.catch(() => undefined);
  let runContext: RunContext | undefined;
  let early: EarlyUpload | undefined;
  try {
    let started: StartedRun;
    try {
      const opened = await opening;
      runContext = opened;
      early = uploadDuringScan(opened, contents, target.signal);
      started = await start(target, opened, { scanned: await scanning, early }, options, detached);
    } catch (error) {
      await early?.cancel();
      runContext?.close();
      runContext = createRunContext(configuration, project, context.root, printer);
      const ended = options.rerun ? null : await findEnded(target, runContext, scanning, options, detached);
      if (!ended) throw error;
      started = ended;
    }
    return await then(runContext, started);
  } finally {
    runContext?.close();
  }
}

/** Starts it on an instance that is there, or finds the one that is the same. */
async function start(
  target: Target,
  instanceContext: InstanceContext,
  { scanned, early }: { scanned: Scanned; early?: EarlyUpload },
  options: StartOptions,
  detached: boolean,
): Promise<StartedRun> {
  const { context, workspace, signal } = target;
  const rerun = options.rerun ?? false;
  const planned = await planTraining(target, instanceContext, scanned, { ...options, detached });
  return startRun(instanceContext, workspace, planned, {
    signal,
    scanned,
    early,
    rerun,
    force: options.force,
    onSend: () =>
      target.answerSignal(
        () =>
          `Interrupted while the training was being started. To see whether it is active: ${targetCommand(context, 'remote-status')}`,
      ),
  });
}

/** The same training, where it has succeeded: its result is in the store, whatever keeps another one from starting. */
async function findEnded(
  target: Target,
  runContext: RunContext,
  scanning: Promise<Scanned>,
  options: StartOptions,
  detached: boolean,
): Promise<StartedRun | null> {
  if (target.signal.aborted) return null;
  try {
    const scanned = await scanning;
    const planned = await planTraining(target, runContext, scanned, { ...options, rerun: false, detached });
    const { found } = await findDuplicateRun(runContext, planned.key(scanned.snapshot));
    return found?.attached === 'ended' ? { run: found.record, attached: 'ended', settled: Promise.resolve() } : null;
  } catch {
    // What kept it from starting is what is said.
    return null;
  }
}
