import { isSameLaunchOption, placements } from '../../instance/launch/launch-options';
import { NoRoomBeside } from '../../instance/launch/no-room-beside';
import { readTags } from '../../instance/describe/tags';
import { managedInstance } from '../../instance/stop/managed';
import { isRefusal } from '../../instance/stop/required-tags';
import { terminateAll } from '../../instance/stop/terminate';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { requiredRunTags, requiredTags } from '../../context/required-tags';
import type { RunContext } from '../../context/types';
import { formatDuration } from '../../report/units';
import { steadyNow } from '../../system/moment';
import { sleep } from '../../system/sleep';
import { waitForLeaseExpiry } from '../record/lease';
import type { RunRecord } from '../record/record';
import { isIdle } from './run-instance';

/**
 * How long the nodes that a run has left wait for one beside them, ms, before all are launched elsewhere, and the time
 * between two attempts. The watchdog keeps them for 10 minutes: src/runtime/watchdog/shutdown_rules.py.
 */
export const MOVE = { after: 300_000, retry: 60_000 };

/** A run whose interrupted nodes are to be replaced. */
export interface NodesToReplace {
  launchSpec: LaunchSpec;
  run: Pick<RunRecord, 'id' | 'nodes'>;
  /** The instances that this command itself brought up for the run, whatever run they were launched for. */
  own: readonly string[];
}

/**
 * Launches the missing nodes of an interrupted run beside those that it has left. If EC2 has no capacity there for some
 * time, those are terminated, so that all nodes are launched together where EC2 has capacity.
 * @param launch called again after each refusal, with the run's deadline where it is known from the nodes that it had.
 * @throws Problem of `launch`, also where there is no other place, or a node that is left is in use.
 */
export async function launchOrMove<Launched>(
  context: RunContext,
  replace: NodesToReplace,
  launch: (deadline?: number) => Promise<Launched>,
  signal: AbortSignal,
): Promise<Launched> {
  const began = steadyNow();
  let said = false;
  for (;;) {
    try {
      return await launch();
    } catch (error) {
      if (!(error instanceof NoRoomBeside)) throw error;
      if (steadyNow() - began >= MOVE.after) {
        const deadline = await terminateLeft(context, replace, error, signal);
        return launch(deadline);
      }
      if (!said)
        context.printer.line(
          `Trying again for ${formatDuration(MOVE.after)}: then the nodes of ${replace.run.id} that are left (${error.kept.join(', ')}) are terminated, and all are launched elsewhere.`,
        );
      said = true;
      await sleep(MOVE.retry, signal);
    }
  }
}

/**
 * Terminates the nodes that a run has left, together or not at all.
 * @returns the deadline that they have; undefined: none.
 * @throws `refused` where that would not help, or where one is another's or in use.
 */
async function terminateLeft(
  context: RunContext,
  { launchSpec, run, own }: NodesToReplace,
  refused: NoRoomBeside,
  signal: AbortSignal,
): Promise<number | undefined> {
  const { aws, printer } = context;
  const places = await placements(aws, launchSpec, signal);
  if (places.every((each) => isSameLaunchOption(each, refused.place))) throw refused;
  // What they have saved is in the store when their records say so.
  for (const rank of run.nodes.keys()) await waitForLeaseExpiry(context, run.id, signal, rank);
  try {
    const left = await Promise.all(
      refused.kept.map(async (id) => {
        const required = own.includes(id)
          ? await requiredTags(context, ['store'])
          : await requiredRunTags(context, run.id);
        return managedInstance(aws, id, required, { signal });
      }),
    );
    const instances = left.filter((each) => each !== null);
    const idle = await Promise.all(instances.map(({ id }) => isIdle(context, id, signal)));
    if (idle.includes(false)) throw refused;
    const ids = instances.map(({ id }) => id).join(', ');
    printer.line(
      `Terminating ${ids}: EC2 had no capacity beside them for ${formatDuration(MOVE.after)}. Launching all nodes of ${run.id} elsewhere; they resume from what the store has.`,
    );
    await terminateAll(aws, instances, printer, signal);
    const deadlines = instances.flatMap(({ tags }) => readTags(tags).deadline ?? []);
    return deadlines.length ? Math.min(...deadlines) : undefined;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    printer.warn(error.message);
    throw refused;
  }
}
