import type { Aws } from '../../aws/clients';
import type { Problem } from '../../report/problem';
import type { Printer } from '../../report/printer';
import { findFleet, instancesOf } from '../fleet/find-fleet';
import { templateName } from '../fleet/fleet';
import { isRefusal, type RequiredTags } from './required-tags';
import { managedFleets, managedInstance, managedTemplate, type ManagedFleet, type ManagedTemplate } from './managed';
import { deleteFleets, deleteTemplate, terminate } from './terminate';

/** The tags that what was launched for one run must have. */
export type RequiredRunTags = RequiredTags & { run: string };

/** The part of a run's fleet that has the required tags. */
export interface CheckedFleet {
  fleets: ManagedFleet[];
  template: ManagedTemplate | null;
  /** Why others with the run's tag are left as they are. */
  refused: Problem[];
}

/**
 * Looks up what has the tag of a run, or its template's name, and has the required tags; null where nothing is there.
 * @param known fleets that were created just now: EC2 may not list them by their tags yet.
 * @throws Problem where all that is there does not match.
 */
export async function checkFleet(
  aws: Aws,
  required: RequiredRunTags,
  known: readonly string[] = [],
): Promise<CheckedFleet | null> {
  const found = await findFleet(aws, required.run);
  const { fleets, refused } = await managedFleets(aws, [...new Set([...found.fleets, ...known])], required);
  const template = await managedTemplate(aws, templateName(required.run), required).catch((error: unknown) => {
    if (!isRefusal(error)) throw error;
    refused.push(error);
    return null;
  });
  if (fleets.length || template) return { fleets, template, refused };
  const [problem] = refused as (Problem | undefined)[];
  if (problem) throw problem;
  return null;
}

/**
 * Deletes a run's template, then its fleets with their instances: a fleet without a template launches nothing.
 * @returns whether anything of it was there. @throws Problem as `checkFleet` does.
 */
export async function deleteFleet(aws: Aws, required: RequiredRunTags, known?: readonly string[]): Promise<boolean> {
  const found = await checkFleet(aws, required, known);
  if (!found) return false;
  if (found.template) await deleteTemplate(aws, found.template);
  await deleteFleets(aws, found.fleets);
  return true;
}

/** Terminates the instances of a run that its fleet has left. One without the required tags is named, and left running. */
export async function terminateLeft(aws: Aws, required: RequiredRunTags, printer: Printer): Promise<void> {
  for (const id of await instancesOf(aws, required.run)) {
    try {
      const instance = await managedInstance(aws, id, required);
      if (instance) await terminate(aws, instance, printer);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      printer.warn(error.message);
    }
  }
}
