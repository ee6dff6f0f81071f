import { Problem } from '../../report/problem';
import { nxRun } from '../../report/shell-words';

/**
 * Adds to an error, which ends the following but not the run, how to come back.
 * @param isActive whether the run is not known to have ended.
 */
export function withResumeHint(
  error: Problem,
  { project, run, isActive }: { project: string; run: string; isActive: boolean },
): Problem {
  if (!(error instanceof Problem)) return error;
  const { code, what, aws, next, cause } = error;
  const lines = [...(next ? [next] : []), `${run} was not stopped. Run the same command to attach to it again.`];
  // Whoever writes over the record again and again keeps every command from it that reads it.
  if (code === 'RECORD_UNVERIFIED' && isActive)
    lines.push(`To stop the run: ${nxRun(project, 'remote-cancel', `--run=${run}`)}`);
  return new Problem(code, what, { aws, next: lines.join('\n'), cause });
}
