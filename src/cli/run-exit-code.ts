import { constants } from 'node:os';
import type { RunFacts } from '../command/plan';

/** The exit code of a command that can't say how the run ended, as of `docker run`. */
export const UNKNOWN_EXIT_CODE = 125;

/**
 * Maps the end of a run to an exit code: 0 for a success alone; the program's own code; 128 plus the number of the signal
 * that killed it; 1 where the run did not succeed and has neither (lost, set-up failed, or cancelled and exited with 0).
 */
export function exitCodeOf({ outcome, exitCode, signal }: Pick<RunFacts, 'outcome' | 'exitCode' | 'signal'>): number {
  if (outcome === 'succeeded') return 0;
  const number = signal === null ? undefined : constants.signals[signal as NodeJS.Signals];
  if (number !== undefined) return 128 + number;
  return exitCode || 1;
}
