import type { Configuration } from '../../config/settings/types';
import { createInstanceContext, createRunContext } from '../../context/context';
import { Problem } from '../../report/problem';
import type { Printer } from '../../report/printer';
import { isKnownActive, resolveRun } from '../find/find-run';
import { resolveNode } from '../find/find-node';
import { awaitsReplacement } from '../record/interruption';
import { InstancePlace, RunPlace, type Place } from './place';

export interface PlaceOptions {
  run?: string;
  node?: number;
}

/**
 * The instance whose ports are meant: that of the run, or the configuration's. An instance that is launched for runs is
 * that of the latest run while it is active.
 * @throws Problem where there is none.
 */
export async function findPlace(
  configuration: Configuration,
  project: string,
  workspaceRoot: string,
  printer: Printer,
  { run, node }: PlaceOptions,
): Promise<Place> {
  const isNamed = run !== undefined || node !== undefined;
  if (isNamed || 'launchSpec' in configuration.instance) {
    const context = createRunContext(configuration, project, workspaceRoot, printer);
    try {
      if (isNamed) return new RunPlace(context, (await resolveNode(context, run, node)).record);
      const latest = await resolveRun(context, undefined).catch(noneIfMissing);
      if (latest && (isKnownActive(latest) || awaitsReplacement(latest.record)))
        return new RunPlace(context, latest.record);
    } catch (error) {
      context.close();
      throw error;
    }
    context.close();
  }
  return new InstancePlace(await createInstanceContext(configuration, project, workspaceRoot, printer));
}

function noneIfMissing(error: unknown): null {
  if (error instanceof Problem && error.code === 'NO_RUN') return null;
  throw error;
}
