import { Problem } from '../../report/problem';
import type { RunRecord } from './record';

type Ended = Pick<RunRecord, 'state' | 'outcome' | 'stop' | 'failure' | 'metadata'>;

/** Whether a run ended since its spot instance was taken away: with notice, or without one. It can be gone on with elsewhere. */
export function wasInterrupted({ state, outcome, stop, failure, metadata }: Ended): boolean {
  if (state !== 'ended') return false;
  if (outcome === 'interrupted') return stop?.reason === 'interruption';
  return outcome === 'lost' && failure?.code === 'INSTANCE_GONE' && metadata.recovery !== 'none';
}

/** Whether the next attempt of a run begins with nobody's doing: its fleet brings another instance up, however it was ended. */
export function awaitsReplacement(run: Ended): boolean {
  if (run.state !== 'ended' || run.metadata.recovery !== 'fleet') return false;
  return wasInterrupted(run) || run.outcome === 'lost' || run.stop?.reason === 'shutdown';
}

/** Whether whoever starts the same training again goes on with a run instead. */
export function isResumable(run: RunRecord): boolean {
  return wasInterrupted(run) && run.metadata.recovery === 'client' && run.access === 'role';
}

/** Why a run that was interrupted can't be gone on with, for its user; null where it can, or was not interrupted. */
export function resumeBlocker(run: RunRecord): Problem | null {
  if (!wasInterrupted(run) || run.metadata.recovery !== 'client' || run.access === 'role') return null;
  return new Problem(
    'RECOVERY_IMPOSSIBLE',
    `${run.id} can not be gone on with on another instance: it was saved by a presigned form, which only writes.`,
    {
      next: 'Give the instance a role that may read and write below the run\'s prefix ("instance.instanceProfile"; nx g nx-ec2:aws-setup makes one).',
    },
  );
}
