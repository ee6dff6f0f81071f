import type { Outcome, RunFacts } from '../../command/plan';
import type { ErrorCode } from '../../report/error-codes';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatDuration } from '../../report/units';
import { isResumable, resumeBlocker } from '../record/interruption';
import type { RunRecord } from '../record/record';
import { nxRun } from '../../report/shell-words';

/** Why a run was interrupted, and what to change if that was not intended, by the reason of the stop. */
const INTERRUPTIONS: Record<string, { why: string; change?: string }> = {
  shutdown: { why: 'the instance was shutting down' },
  interruption: { why: 'AWS took its spot instance away' },
  'not-replaced': {
    why: 'EC2 launched no instance in its place in time',
    change: 'Spot capacity changes: try another type or subnet first, or try again later',
  },
  growth: { why: 'the next attempt has more nodes' },
  superseded: { why: 'another instance had taken it over' },
  lifetime: {
    why: 'the instance reached its maximum lifetime',
    change: 'To allow more time, raise "instance.maxLifetime"',
  },
  cost: {
    why: 'the instance reached its cost limit',
    change: 'To allow a higher cost, raise "instance.maxCost"',
  },
  deadline: {
    why: 'it reached the maximum lifetime over all its instances',
    change: 'To allow more time, raise "instance.maxLifetime" or "instance.maxCost"',
  },
  hung: {
    why: 'it seemed to hang: it printed nothing, and processors and GPUs were idle',
    change: 'If it was only silent, raise "instance.idleTimeout", or have it print something now and then',
  },
};

/** How a run ended, with its verb: `exited with 3 after 2m 05s`, `was cancelled after 4 s (exited with 0)`. */
export function describeOutcome(run: RunFacts): string {
  const took = run.startedAt && run.endedAt ? ` after ${formatDuration(run.endedAt - run.startedAt)}` : '';
  const why = run.failure ? sanitizeForTerminal(run.failure.message).replace(/\.$/, '') : null;
  const how = run.signal
    ? `killed by ${run.signal}`
    : run.exitCode !== null
      ? `exited with ${run.exitCode}`
      : 'no exit code';
  switch (run.outcome) {
    case 'succeeded':
      return `succeeded${took}`;
    case 'failed':
      if (run.failure?.code === 'NODE_FAILED') return `failed${took}: ${why}`;
      return why ? `failed${took}: ${why} (${how})` : `${run.signal ? 'was ' : ''}${how}${took}`;
    case 'cancelled':
      return `was cancelled${took} (${how})`;
    case 'timed-out':
      return `was stopped at its time limit${took} (${how})`;
    case 'interrupted':
      return `was interrupted${took}${nodeOf(run)}: ${interruption(run).why} (${how})`;
    case 'setup-failed':
      return `failed before it started: ${why ?? 'its set-up failed'}`;
    case 'lost':
      return `was lost${took}: ${why ?? 'it ended without reporting a result'}`;
    case null:
      return 'is still active';
  }
}

/** Where a run of several nodes ended first. */
function nodeOf({ failedNode }: RunFacts): string {
  if (!failedNode) return '';
  return ` on node ${failedNode.rank}${failedNode.instance ? ` (${failedNode.instance})` : ''}`;
}

function interruption({ stop, failedNode }: RunFacts): { why: string; change?: string } {
  if (failedNode?.why === 'lost') return { why: 'it sent no more heartbeats' };
  const reason = stop?.reason ?? 'shutdown';
  return Object.hasOwn(INTERRUPTIONS, reason) ? INTERRUPTIONS[reason] : { why: sanitizeForTerminal(reason) };
}

function resumeHint({ metadata: { recovery } }: RunRecord): string {
  return recovery === 'command'
    ? 'To resume it, run the same command again when enough of its instances run.'
    : 'To resume it on another instance, run the same command again.';
}

const OUTCOME_CODES: Record<Exclude<Outcome, 'succeeded'>, ErrorCode> = {
  failed: 'RUN_FAILED',
  cancelled: 'RUN_CANCELLED',
  'timed-out': 'RUN_TIMED_OUT',
  interrupted: 'RUN_INTERRUPTED',
  'setup-failed': 'RUN_SETUP_FAILED',
  lost: 'RUN_LOST',
};

/** A run that ended and did not succeed, as an error. Its last log lines have been shown by whoever followed it. */
export function assertSucceeded(run: RunFacts, project: string): void {
  if (run.outcome === 'succeeded') return;
  const record = 'metadata' in run ? (run as RunRecord) : null;
  const refused = record && resumeBlocker(record);
  const saved = (run as { checkpoints?: unknown[] }).checkpoints?.length;
  const of = `--run=${run.id}`;
  const change =
    run.outcome === 'interrupted'
      ? interruption(run).change
      : run.outcome === 'timed-out'
        ? `To allow more time, raise "train.timeout". To train again from the start: ${nxRun(project, 'remote-train')}`
        : undefined;
  throw new Problem(
    run.outcome ? OUTCOME_CODES[run.outcome] : 'RUN_UNKNOWN',
    `The training ${run.id} ${describeOutcome(run)}.`,
    {
      next: [
        ...(refused ? [`${refused.what} ${refused.next}`] : []),
        ...(record && isResumable(record) ? [resumeHint(record)] : []),
        `Show its log:    ${nxRun(project, 'remote-logs', of)}`,
        ...(run.node ? [`Of all nodes:    ${nxRun(project, 'remote-logs', of, '--node=all')}`] : []),
        `Fetch its files: ${nxRun(project, 'remote-pull', of)} (on ${run.instance}: ${sanitizeForTerminal(run.directory)})`,
        ...(change ? [change] : []),
        ...(saved
          ? [`Start a new run from its last checkpoint: ${nxRun(project, 'remote-train', `--resumeFrom=${run.id}`)}`]
          : []),
      ].join('\n'),
    },
  );
}
