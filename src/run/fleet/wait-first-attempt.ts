import { sleep } from '../../system/sleep';
import { fleetTrouble, instancesOf } from '../../instance/fleet/find-fleet';
import { deleteFleet } from '../../instance/stop/delete-fleet';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatDuration } from '../../report/units';
import { requiredRunTags } from '../../context/required-tags';
import { runsOn } from '../find/runs-on-instance';
import { isUnreadable, readNodeRecord, readRecord, type RunRecord } from '../record/record';
import { runTime } from '../record/run-id';
import { steadyNow } from '../../system/moment';
import type { RunContext } from '../../context/types';
import { nxRun } from '../../report/shell-words';

/** Between two looks into the store, and at EC2, ms. */
const STORE_POLL_MS = 1_000;
const EC2_POLL_MS = 10_000;

/**
 * Waits until a run's fleet has begun it: its first record is there. Where nothing comes of it in time, the fleet is
 * deleted. Anybody who can write to the bucket may have written a record that can't be verified, or deleted one: the run's
 * instance writes it again. Where somebody is faster than that, the instance is asked before the fleet is deleted.
 * @param wait ms
 */
export async function waitForFirstAttempt(
  context: RunContext,
  { run, fleets }: { run: string; fleets: readonly string[] },
  wait: number,
  signal: AbortSignal,
): Promise<RunRecord> {
  const since = steadyNow();
  const waiting = new Waiting(context, run, fleets);
  for (;;) {
    const read = await readRecord(context.store, context.keys, run).catch((error: unknown) => {
      if (isUnreadable(error)) return error as Problem;
      throw error;
    });
    if (read && !(read instanceof Problem)) return read.record;
    if (steadyNow() - since > wait) {
      if (!(await hasOtherNode(context, run, fleets.length))) await assertUnstarted(context, run, read, signal);
      const trouble = [await waiting.trouble(), ...(read ? [read.what] : [])].join('\n');
      await deleteFleet(context.aws, await requiredRunTags(context, run));
      throw new Problem(
        'FLEET_WAIT',
        `The fleet of ${run} did not start it within ${formatDuration(wait)}, and was deleted.\n${trouble}`,
        {
          next:
            fleets.length > 1
              ? 'All nodes are launched as the first type, in one subnet: name another type or subnet first, train on fewer nodes, or try again later.'
              : 'Allow more types or subnets, raise "instance.startupTimeout", or try again later.',
        },
      );
    }
    await waiting.say();
    await sleep(STORE_POLL_MS, signal);
  }
}

/** Whether another node than the first one waits for it: the run has not begun, although its instance says so. */
async function hasOtherNode({ store, keys }: RunContext, run: string, nodes: number): Promise<boolean> {
  for (let rank = 1; rank < nodes; rank++)
    if (await readNodeRecord(store, keys, run, rank).catch(() => null)) return true;
  return false;
}

/** @param why the run's record can't be read; null: it is not there. @throws Problem where an instance says that the run is active there. */
async function assertUnstarted(
  context: RunContext,
  run: string,
  why: Problem | null,
  signal: AbortSignal,
): Promise<void> {
  for (const instance of await instancesOf(context.aws, run, signal)) {
    const runs = await runsOn(context, instance, signal);
    if (runs === 'silent')
      throw new Problem(
        'FLEET_WAIT',
        `${instance} of the fleet of ${run} did not report whether it has started the run.`,
        {
          next: `Nothing was deleted: the instance and its fleet end by their shutdown rules. To look at the run: ${nxRun(context.project, 'remote-status', `--run=${run}`)}`,
        },
      );
    if (!runs.includes(run)) continue;
    const cancel = nxRun(context.project, 'remote-cancel', `--run=${run}`);
    const reason = why?.what ?? 'Its record is not in the store, although the instance writes it every 10 s.';
    throw new Problem(
      why?.code ?? 'RECORD_UNVERIFIED',
      `${run} is active on ${instance}, but can't be followed. ${reason}`,
      {
        next: `The run and its fleet were not touched. Check who may write to the bucket. To stop the run: ${cancel}`,
      },
    );
  }
}

/** The reasons for a stop that concern the machines, and not the run. */
const REPLACEMENT_NOTE = ['interruption', 'shutdown', 'growth'];

/** Whether a run will not be resumed, by its record. */
export function isFinal({ state, outcome, stop }: Pick<RunRecord, 'state' | 'outcome' | 'stop'>): boolean {
  if (state !== 'ended' || outcome === 'lost') return false;
  return outcome !== 'interrupted' || !REPLACEMENT_NOTE.includes(stop?.reason ?? '');
}

/** Says what is waited for: capacity, or an instance that boots. */
class Waiting {
  private asked = -Infinity;
  private said = '';

  constructor(
    private readonly context: RunContext,
    private readonly run: string,
    private readonly fleets: readonly string[],
  ) {}

  async say(): Promise<void> {
    if (steadyNow() - this.asked < EC2_POLL_MS) return;
    this.asked = steadyNow();
    const text = await this.trouble();
    if (text && text !== this.said) this.context.printer.line(text);
    this.said = text;
  }

  async trouble(): Promise<string> {
    const { aws } = this.context;
    const count = this.fleets.length;
    const instances = await instancesOf(aws, this.run).catch(() => []);
    if (instances.length >= count)
      return `${instances.join(', ')} ${count > 1 ? 'are up and have' : 'is up and has'} not started the run yet.`;
    const told = await Promise.all(this.fleets.map((fleet) => fleetTrouble(aws, fleet, runTime(this.run))));
    const why = told.find((each) => each !== null);
    const lacking = count > 1 ? `${count - instances.length} of ${count} nodes have` : 'The fleet has';
    return `${lacking} no instance yet${why ? `: ${sanitizeForTerminal(why)}` : '.'}`;
  }
}
