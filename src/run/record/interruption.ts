import { Problem } from '../../report/problem';
import type { RunRecord } from './record';

/** Why a run that is resumed on instances that exist was stopped; a shutdown may be a restart. */
const LOSSES: readonly string[] = ['interruption', 'shutdown'];

/** The reason of a stop after which the next attempt has more nodes: no instance was lost. */
const GROWTH = 'growth';

type Ended = Pick<RunRecord, 'state' | 'outcome' | 'stop' | 'failure' | 'metadata'>;

/**
 * Whether a run ended because its spot instance was taken away, with notice or without, or because it lost an instance
 * that exists. Another attempt can resume it.
 */
export function wasInterrupted({ state, outcome, stop, failure, metadata }: Ended): boolean {
  if (state !== 'ended') return false;
  if (metadata.recovery === 'command')
    return outcome === 'lost' || (outcome === 'interrupted' && LOSSES.includes(stop?.reason ?? ''));
  if (outcome === 'interrupted') return stop?.reason === 'interruption' || stop?.reason === GROWTH;
  return outcome === 'lost' && failure?.code === 'INSTANCE_GONE' && metadata.recovery !== 'none';
}

/** Whether an attempt was ended for one with more nodes; of a node that trains in the next one: whether it is ready. */
export function endedToGrow({ outcome, stop }: Pick<Ended, 'outcome' | 'stop'>): boolean {
  return outcome === 'interrupted' && stop?.reason === GROWTH;
}

/** The instance whose loss interrupted a run: of several nodes, the others wait for another in its place. */
export function interruptedInstance({ outcome, instance, failedNode }: RunRecord): string {
  return outcome === 'lost' || !failedNode?.instance ? instance : failedNode.instance;
}

/** Whether the next attempt of a run starts by itself: its fleet launches another instance, however this one ended. */
export function awaitsReplacement(run: Ended): boolean {
  if (run.state !== 'ended' || run.metadata.recovery !== 'fleet') return false;
  return wasInterrupted(run) || run.outcome === 'lost' || run.stop?.reason === 'shutdown';
}

/** Whether the same command resumes this run instead of starting a new one. */
export function isResumable(run: RunRecord): boolean {
  return wasInterrupted(run) && isResumedByClients(run) && run.access === 'role';
}

function isResumedByClients({ metadata: { recovery } }: RunRecord): boolean {
  return recovery === 'client' || recovery === 'command';
}

/** Why an interrupted run can't be resumed, for its user; null if it can, or was not interrupted. */
export function resumeBlocker(run: RunRecord): Problem | null {
  if (!wasInterrupted(run) || !isResumedByClients(run) || run.access === 'role') return null;
  return new Problem(
    'RECOVERY_IMPOSSIBLE',
    `${run.id} can't be resumed on another instance: it was saved with a presigned form, which does not allow reads.`,
    {
      next: 'Give the instance a role that may read and write below the run\'s prefix ("instance.instanceProfile"; nx g nx-ec2:aws-setup creates one).',
    },
  );
}
