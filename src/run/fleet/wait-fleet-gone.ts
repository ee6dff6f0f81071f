import { sleep } from '../../system/sleep';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { findFleet, instancesOf } from '../../instance/fleet/find-fleet';
import { keptAfter } from '../../instance/describe/kept-after';
import { isRefusal } from '../../instance/stop/required-tags';
import { deleteFleet, terminateLeft } from '../../instance/stop/delete-fleet';
import { formatDuration } from '../../report/units';
import { requiredRunTags } from '../../context/required-tags';
import { isAllSaved } from '../record/all-saved';
import type { RunRecord } from '../record/record';
import { steadyNow } from '../../system/moment';
import type { RunContext } from '../../context/types';

/** The instance ends what is a run's by itself: so long it is waited for, ms. */
const FLEET_DELETION_TIMEOUT_MS = 90_000;
const FLEET_POLL_MS = 2_000;

/**
 * After the end of a run: waits until its fleet, its template and its instances are gone, as the instance is to see to,
 * and deletes what is not. An instance that is kept for a look stays, and is named.
 */
export async function waitForFleetDeletion(
  context: RunContext,
  { id, outcome, artifacts }: Pick<RunRecord, 'id' | 'outcome' | 'artifacts'>,
  { onFinish }: Pick<LaunchSpec, 'onFinish'>,
  signal?: AbortSignal,
  timeoutMs = FLEET_DELETION_TIMEOUT_MS,
): Promise<void> {
  const { aws, printer } = context;
  const { success = null, failure = null } = onFinish;
  const kept = keptAfter({ success, failure }, outcome === 'succeeded', isAllSaved({ artifacts })) ?? 0;
  const until = steadyNow() + timeoutMs;
  for (;;) {
    const [{ fleets, template }, instances] = await Promise.all([
      findFleet(aws, id, signal),
      instancesOf(aws, id, signal),
    ]);
    const gone = !fleets.length && !template;
    if (gone && kept && instances.length) {
      printer.line(
        `The fleet of ${id} is deleted. ${instances.join(', ')} is kept for ${formatDuration(kept)}, and then terminates itself.`,
      );
      return;
    }
    if (gone && !instances.length) return printer.line(`The fleet of ${id} and its instances are gone.`);
    if (steadyNow() > until) {
      const left = [...fleets, ...(template ? ['its launch template'] : []), ...(kept ? [] : instances)].join(', ');
      printer.warn(`The instance did not delete what was launched for ${id}; deleting ${left}.`);
      const required = await requiredRunTags(context, id);
      try {
        await deleteFleet(aws, required);
      } catch (error) {
        // Of a colleague's run that was followed; the run itself has ended.
        if (!isRefusal(error)) throw error;
        printer.warn(error.message);
      }
      if (!kept) await terminateLeft(aws, required, printer);
      return;
    }
    await sleep(FLEET_POLL_MS, signal);
  }
}
