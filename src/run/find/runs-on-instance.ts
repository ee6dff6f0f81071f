import type { ActivityReply } from '../../command/plan';
import type { RunContext } from '../../context/types';
import { Problem } from '../../report/problem';

/** The instance is gone, or its agent is not connected. */
const UNREACHABLE: readonly string[] = ['INSTANCE_OFFLINE', 'INSTANCE_GONE', 'INSTANCE_MISSING'];
/** An instance that has not answered by then is not waited for, ms. */
const TIMEOUT_MS = 60_000;

/**
 * Asks an instance what runs there: runs of any project, workspace and store. The store can't tell it, since every
 * training can write there.
 * @returns the ids of runs; none where Systems Manager does not reach it, which is said. `silent`: it is reached, and does
 * not answer, for example because other commands keep it busy.
 */
export async function runsOn(
  { at, printer }: RunContext,
  id: string,
  signal?: AbortSignal,
): Promise<string[] | 'silent'> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const options = {
    comment: 'nx-ec2: down',
    executionTimeout: 60,
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
  };
  try {
    const { runs } = await at(id).remote.send<ActivityReply>({ op: 'activity', watchdog: false }, options);
    return runs;
  } catch (error) {
    signal?.throwIfAborted();
    printer.warn(`${id} did not report its activity: ${(error as Error).message}`);
    return error instanceof Problem && UNREACHABLE.includes(error.code) ? [] : 'silent';
  }
}
