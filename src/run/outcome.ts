import type { RunState } from '../command/plan';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { formatDuration } from '../report/units';

/** How a run ended, in a few words: `exited with 3 after 2m 05s`. */
export function describeOutcome(run: RunState): string {
  const took = run.startedAt && run.endedAt ? ` after ${formatDuration(run.endedAt - run.startedAt)}` : '';
  const how = run.signal
    ? `killed by ${run.signal}`
    : run.exitCode !== null
      ? `exited with ${run.exitCode}`
      : 'no exit code';
  switch (run.outcome) {
    case 'succeeded':
      return `succeeded${took}`;
    case 'failed':
      return run.failure ? `failed: ${printable(run.failure.message)}` : `${how}${took}`;
    case 'cancelled':
      return `cancelled${took} (${how})`;
    case 'timed-out':
      return `stopped at its time limit${took} (${how})`;
    case 'interrupted':
      return `interrupted${took}: the instance was shutting down (${how})`;
    case 'setup-failed':
      return `failed: ${run.failure ? printable(run.failure.message) : 'its set-up failed'}`;
    case 'lost':
      return 'lost: its supervisor is gone without having recorded an end (killed, or the instance was rebooted)';
    case null:
      return run.state;
  }
}

/** A run that ended and did not succeed, as an error. Its last log lines have been shown by whoever followed it. */
export function refuseFailure(run: RunState): void {
  if (run.outcome === 'succeeded') return;
  const subject = run.outcome === 'setup-failed' ? 'The set-up of the training' : 'The training';
  throw new Problem(
    `RUN_${(run.outcome ?? 'unknown').toUpperCase().replace('-', '_')}`,
    `${subject} ${run.id} ${verb(run)}.`,
    {
      next: `Its files and logs are on the instance in ${printable(run.directory)}; its log again: remote-logs --run=${run.id}`,
    },
  );
}

function verb(run: RunState): string {
  const text = describeOutcome(run);
  if (
    run.outcome === 'cancelled' ||
    run.outcome === 'interrupted' ||
    run.outcome === 'lost' ||
    run.outcome === 'timed-out'
  )
    return `was ${text}`;
  return run.signal ? `was ${text}` : text;
}
