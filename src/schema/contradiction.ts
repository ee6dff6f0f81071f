import type { RunState } from './run';

type Ended = Pick<RunState, 'outcome' | 'exitCode' | 'signal' | 'stop' | 'failure'>;

/** How a run can't have ended as an instance or a record describes it; null: it can. */
export function contradictionIn({ outcome, exitCode, signal, stop, failure }: Ended): string | null {
  if (exitCode !== null && (exitCode < 0 || exitCode > 255)) return `has the exit code ${exitCode}`;
  if (outcome !== 'succeeded') return null;
  if (exitCode !== 0) return `has succeeded with ${exitCode === null ? 'no exit code' : `the exit code ${exitCode}`}`;
  if (signal !== null) return `has succeeded and was ended by ${signal}`;
  if (stop !== null) return `has succeeded and was stopped (${stop.reason})`;
  return failure === null ? null : `has succeeded and has failed (${failure.code})`;
}
