import { pause } from '../../command/run-command';
import { fleetTrouble, instancesOf } from '../../instance/find-fleet';
import { deleteFleet } from '../../instance/stop/delete-fleet';
import { Problem } from '../../report/problem';
import { printable } from '../../report/terminal-text';
import { formatDuration } from '../../report/units';
import { runClaim } from '../claim';
import { readRecord, type RunRecord } from '../record';
import { runTime } from '../run-id';
import type { RunsSession } from '../session';
import { steadyNow } from '../../system/moment';

/** Between two looks into the store, and at EC2, ms. */
const LOOK = 1_000;
const ASK = 10_000;

/**
 * Waits until a run's fleet has begun it: its first record is there. Where nothing comes of it in time, the fleet is
 * deleted. @param wait ms
 */
export async function awaitFirst(
  session: RunsSession,
  run: string,
  fleet: string,
  wait: number,
  signal: AbortSignal,
): Promise<RunRecord> {
  const since = steadyNow();
  const waiting = new Waiting(session, run, fleet);
  for (;;) {
    const read = await readRecord(session.store, session.keys, run);
    if (read) return read.record;
    if (steadyNow() - since > wait) {
      const trouble = await waiting.trouble();
      await deleteFleet(session.aws, await runClaim(session, run));
      throw new Problem(
        'FLEET_WAIT',
        `The fleet of ${run} did not begin it within ${formatDuration(wait)}, and is deleted.${trouble ? `\n${trouble}` : ''}`,
        { next: 'Allow more types or subnets, raise "instance.wait", or try later.' },
      );
    }
    await waiting.say();
    await pause(LOOK, signal);
  }
}

/** Why the machine, and not the run, came to its end. */
const TAKEN = ['interruption', 'shutdown'];

/** Whether nobody goes on with a run, by its record. */
export function isOver({ state, outcome, stop }: Pick<RunRecord, 'state' | 'outcome' | 'stop'>): boolean {
  if (state !== 'ended' || outcome === 'lost') return false;
  return outcome !== 'interrupted' || !TAKEN.includes(stop?.reason ?? '');
}

/** Says what is waited for: capacity, or an instance that boots. */
class Waiting {
  private asked = -Infinity;
  private said = '';

  constructor(
    private readonly session: RunsSession,
    private readonly run: string,
    private readonly fleet: string,
  ) {}

  async say(): Promise<void> {
    if (steadyNow() - this.asked < ASK) return;
    this.asked = steadyNow();
    const text = await this.trouble();
    if (text && text !== this.said) this.session.reporter.line(text);
    this.said = text;
  }

  async trouble(): Promise<string> {
    const { aws } = this.session;
    const instances = await instancesOf(aws, this.run).catch(() => []);
    if (instances.length) return `${instances.join(', ')} is there and has not begun yet.`;
    const why = await fleetTrouble(aws, this.fleet, runTime(this.run));
    return `The fleet has no instance yet${why ? `: ${printable(why)}` : '.'}`;
  }
}
