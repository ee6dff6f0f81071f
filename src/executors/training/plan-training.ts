import type { RunContext } from '../../context/types';
import type { Scanned } from '../../project/scan-project';
import { resumePoint } from '../../run/start/checkpoint-to-restore';
import { planRun, type PlannedRun, type PlanRunOptions } from '../../run/start/plan-run';
import type { Target } from '../lib/run-target';
import type { StartOptions } from './types';

/** Plans the run of a command. @param detached the run continues without a client. */
export async function planTraining(
  { configuration, context, project }: Target,
  runContext: RunContext,
  scanned: Scanned,
  { rerun = false, resumeFrom, detached }: StartOptions & { detached: boolean },
  price?: PlanRunOptions['price'],
): Promise<PlannedRun> {
  const restore = resumeFrom ? await resumePoint(runContext, resumeFrom, !detached) : null;
  const options = { rerun, detached, restore, aws: runContext.aws, price };
  return planRun(configuration, project, scanned, context.root, options);
}
