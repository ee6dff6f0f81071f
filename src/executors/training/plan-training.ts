import type { RunContext } from '../../context/types';
import type { Scanned } from '../../project/scan-project';
import { resumePoint } from '../../run/start/checkpoint-to-restore';
import { planRun, type PlannedRun, type PlanRunOptions } from '../../run/start/plan-run';
import type { Target } from '../lib/run-target';
import type { StartOptions } from './types';

/**
 * Plans the run of a command. @param detached the run continues without a client.
 * @param launched what is known of its instances once they are launched.
 */
export async function planTraining(
  { configuration, context, project }: Target,
  runContext: RunContext,
  scanned: Scanned,
  { rerun = false, resumeFrom, detached }: StartOptions & { detached: boolean },
  launched?: Pick<PlanRunOptions, 'price' | 'nodes'>,
): Promise<PlannedRun> {
  const restore = resumeFrom ? await resumePoint(runContext, resumeFrom, !detached) : null;
  const options = { rerun, detached, restore, aws: runContext.aws, ...launched };
  return planRun(configuration, project, scanned, context.root, options);
}
