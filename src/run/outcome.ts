import type { RunFacts } from '../command/plan';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { formatDuration } from '../report/units';

/** How a run ended, in a few words: `exited with 3 after 2m 05s`. */
export function describeOutcome(run: RunFacts): string {
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
      return run.failure ? `failed${took}: ${printable(run.failure.message)} (${how})` : `${how}${took}`;
    case 'cancelled':
      return `cancelled${took} (${how})`;
    case 'timed-out':
      return `stopped at its time limit${took} (${how})`;
    case 'interrupted':
      return `interrupted${took}: the instance was shutting down (${how})`;
    case 'setup-failed':
      return `failed: ${run.failure ? printable(run.failure.message) : 'its set-up failed'}`;
    case 'lost':
      return `lost${took}: ${run.failure ? printable(run.failure.message) : 'it ended without a word'}`;
    case null:
      return 'goes on';
  }
}

/** A run that ended and did not succeed, as an error. Its last log lines have been shown by whoever followed it. */
export function refuseFailure(run: RunFacts, project: string): void {
  if (run.outcome === 'succeeded') return;
  const subject = run.outcome === 'setup-failed' ? 'The set-up of the training' : 'The training';
  throw new Problem(
    `RUN_${(run.outcome ?? 'unknown').toUpperCase().replace('-', '_')}`,
    `${subject} ${run.id} ${verb(run)}.`,
    {
      next: `Its log again: nx run ${project}:remote-logs --run=${run.id}; what it left: nx run ${project}:remote-pull --run=${run.id}; its files are on ${run.instance} in ${printable(run.directory)}`,
    },
  );
}

function verb(run: RunFacts): string {
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
