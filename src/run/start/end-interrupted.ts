import { isAlive, describeInstance } from '../../instance/describe/describe-instances';
import { isRefusal } from '../../instance/stop/required-tags';
import { managedInstance, type ManagedInstance } from '../../instance/stop/managed';
import { isResourceId } from '../../instance/stop/resource-id';
import { stopAndWait } from '../../instance/stop/stop-and-wait';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { requiredRunTags, requiredTags } from '../../context/required-tags';
import type { RunRecord } from '../record/record';
import type { RunContext } from '../../context/types';

/**
 * Terminates the instance of a run that was interrupted, before the run resumes on another one: two instances must not
 * write one run. The record only names it; EC2 must say that it was launched for this run.
 * @param own the instance that this command itself brought up for the run, whatever run it was launched for.
 * @returns what EC2 says of it; null where it is gone.
 * @throws Problem where it lives and is not this run's.
 */
export async function endInterrupted(
  context: RunContext,
  run: Pick<RunRecord, 'id' | 'instance'>,
  own: string | null,
  signal: AbortSignal,
): Promise<ManagedInstance | null> {
  const { aws, printer } = context;
  if (!isResourceId('instance', run.instance)) return null;
  const required =
    run.instance === own ? await requiredTags(context, ['store']) : await requiredRunTags(context, run.id);
  try {
    const instance = await managedInstance(aws, run.instance, required, { signal });
    if (instance) await stopAndWait(aws, { instance, how: 'terminate' }, printer, signal);
    return instance;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const found = await describeInstance(aws, run.instance, signal);
    // One that ends already is no second writer, whoever launched it.
    if (!found || !isAlive(found)) return null;
    throw new Problem(error.code, `${error.what} The record of ${sanitizeForTerminal(run.id)} names it.`, {
      next: 'To train on another instance, run the same command with --rerun. If the instance is yours, run remote-down and then the same command.',
      cause: error,
    });
  }
}
