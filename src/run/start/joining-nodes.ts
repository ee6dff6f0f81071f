import { listOwnedInstances } from '../../instance/describe/describe-instances';
import { TAG } from '../../instance/describe/ownership';
import { deleteUnusedGroups } from '../../instance/stop/unused-groups';
import { managedInstance } from '../../instance/stop/managed';
import { stopAndWait } from '../../instance/stop/stop-and-wait';
import { requiredRunTags } from '../../context/required-tags';
import type { RunContext } from '../../context/types';
import { runsOn } from '../find/runs-on-instance';
import { endedToGrow } from '../record/interruption';
import { lookAtNodes } from '../record/node-records';
import type { RunRecord } from '../record/record';

/** A node that was prepared beside an attempt, or is being prepared. */
export interface JoiningNode {
  rank: number;
  instance: string;
  /** The next attempt can have it. */
  isReady: boolean;
}

/** The nodes that are prepared, or were, while an attempt of an elastic run trains without them. */
export async function findJoining(
  context: RunContext,
  run: Pick<RunRecord, 'id' | 'attempt' | 'nodes'>,
): Promise<JoiningNode[]> {
  const { nodes: most, minNodes } = context.configuration.train;
  if (minNodes === undefined || !run.nodes.length) return [];
  const found = await lookAtNodes(context, run.id, most);
  return found.flatMap((read, n) =>
    read && n + 1 >= run.nodes.length && read.record.attempt === run.attempt
      ? [{ rank: n + 1, instance: read.record.instance, isReady: endedToGrow(read.record) }]
      : [],
  );
}

/**
 * Terminates what was launched to give a run more nodes, and is not needed any more: the run has ended. EC2 must say that
 * it was launched for this run, and the instance that nothing else runs there.
 * @param ids of some instances; absent: of all that are no nodes of the last attempt.
 */
export async function terminateJoining(
  context: RunContext,
  run: Pick<RunRecord, 'id' | 'instance' | 'nodes'>,
  signal?: AbortSignal,
  ids?: readonly string[],
): Promise<void> {
  const { aws, configuration, printer } = context;
  if (configuration.train.minNodes === undefined) return;
  const own = await listOwnedInstances(aws, await context.owner(), signal);
  const used = new Set([run.instance, ...run.nodes.map(({ instance }) => instance)]);
  const unused = own.filter(
    ({ id, tags }) => tags[TAG.run] === run.id && !used.has(id) && (ids === undefined || ids.includes(id)),
  );
  const required = await requiredRunTags(context, run.id);
  await Promise.all(
    unused.map(async ({ id }) => {
      try {
        const instance = await managedInstance(aws, id, required, { signal });
        const runs = instance && (await runsOn(context, id, signal));
        if (!runs || runs === 'silent' || runs.some((each) => each !== run.id)) return;
        printer.line(`Terminating ${id}: it was launched as one more node of ${run.id}, and is not needed.`);
        await stopAndWait(aws, { instance, how: 'terminate' }, printer, signal);
      } catch (error) {
        signal?.throwIfAborted();
        printer.warn(`${id} could not be terminated: ${(error as Error).message}`);
      }
    }),
  );
  if (unused.length) await deleteUnusedGroups(aws, required, { signal });
}
