import type { RunFacts } from '../command/plan';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { formatDuration } from '../report/units';
import { whyNot } from './interruption';
import type { RunRecord } from './record';

/** How a run ended, with its verb: `exited with 3 after 2m 05s`, `was cancelled after 4 s (exited with 0)`. */
export function describeOutcome(run: RunFacts): string {
  const took = run.startedAt && run.endedAt ? ` after ${formatDuration(run.endedAt - run.startedAt)}` : '';
  const why = run.failure ? printable(run.failure.message).replace(/\.$/, '') : null;
  const how = run.signal
    ? `killed by ${run.signal}`
    : run.exitCode !== null
      ? `exited with ${run.exitCode}`
      : 'no exit code';
  switch (run.outcome) {
    case 'succeeded':
      return `succeeded${took}`;
    case 'failed':
      return why ? `failed${took}: ${why} (${how})` : `${run.signal ? 'was ' : ''}${how}${took}`;
    case 'cancelled':
      return `was cancelled${took} (${how})`;
    case 'timed-out':
      return `was stopped at its time limit${took} (${how})`;
    case 'interrupted':
      return run.stop?.reason === 'interruption'
        ? `was interrupted${took}: AWS took its spot instance ${run.instance} away`
        : `was interrupted${took}: the instance was shutting down (${how})`;
    case 'setup-failed':
      return `failed before it began: ${why ?? 'its set-up failed'}`;
    case 'lost':
      return `was lost${took}: ${why ?? 'it ended without a word'}`;
    case null:
      return 'goes on';
  }
}

/** A run that ended and did not succeed, as an error. Its last log lines have been shown by whoever followed it. */
export function refuseFailure(run: RunFacts, project: string): void {
  if (run.outcome === 'succeeded') return;
  const refused = 'description' in run ? whyNot(run as RunRecord) : null;
  const saved = (run as { checkpoints?: unknown[] }).checkpoints?.length;
  throw new Problem(
    `RUN_${(run.outcome ?? 'unknown').toUpperCase().replace('-', '_')}`,
    `The training ${run.id} ${describeOutcome(run)}.`,
    {
      next: [
        ...(refused ? [`${refused.what} ${refused.next}`] : []),
        `Its log again: nx run ${project}:remote-logs --run=${run.id}`,
        `What it left:  nx run ${project}:remote-pull --run=${run.id} (on ${run.instance}: ${printable(run.directory)})`,
        ...(saved ? [`Go on from its last checkpoint: nx run ${project}:remote-train --resume=${run.id}`] : []),
      ].join('\n'),
    },
  );
}
