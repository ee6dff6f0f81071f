import { setTimeout as sleep } from 'node:timers/promises';
import type { OurCourse } from '../contenders/ours';
import type { Line } from '../contenders/terminal';
import type { Testbed } from '../testbed/testbed';
import { median, percentile } from '../report/percentile';
import type { Measure, Stage } from './scenario';

/** Seconds without a line: until everything is open that follows, and a while to look at, s. */
const SETTLE = 10;
const QUIET = 40;
/** Lines, so far apart, s: evenly by their logarithm. */
const LINES = 250;
const SHORTEST = 0.01;
const LONGEST = 1.5;
const LIMIT = 600_000;

/** Ways in which a line may come. */
export type Way = 'streamed' | 'stored' | 'asked';

/**
 * Lines of a training under remote-train, by one way. The time is the 95th percentile from a line's write on the
 * instance to the terminal; bytes and requests are of a minute while lines come.
 */
export function followed(way: Way): (stage: Stage<OurCourse>) => Promise<Measure> {
  return async ({ course, testbed, measure, signal }) => {
    await course.sync(signal);
    if (way === 'asked')
      for (const action of ['PUT', 'POST'])
        await testbed.fail({
          service: 's3',
          link: 'instance',
          action,
          times: 1e6,
          error: { code: 'AccessDenied', status: 403 },
        });
    let took: number[] = [];
    let quiet!: Traffic;
    let busy!: Traffic;
    const measured = await measure(async () => {
      const environment: Record<string, string> = way === 'streamed' ? {} : { NX_EC2_NO_SESSIONS: '1' };
      const options = { args: [QUIET, LINES, SHORTEST, LONGEST].map(String) };
      const begun = Date.now();
      const training = course.begin('remote-train', { options, environment, signal });
      await training.line(/^trains at/);
      await sleep(SETTLE * 1000);
      quiet = await during(testbed, () => sleep((QUIET - SETTLE - 2) * 1000));
      await training.line(/^line 0 at/);
      busy = await during(testbed, () => training.line(new RegExp(`^line ${LINES - 1} at`), LIMIT));
      took = training.lines.flatMap(delay);
      // It would be asked for to its end.
      if (way === 'asked') training.kill();
      else await training.done;
      course.forgetArtifacts();
      return { begun, ended: Date.now() };
    });
    if (took.length !== LINES) throw new Error(`${took.length} of ${LINES} lines came`);
    if (way !== 'asked' && quiet.commands + busy.commands) throw new Error('a command was sent while it was followed');
    return {
      ...measured,
      time: percentile(took, 95),
      sent: busy.up,
      received: busy.down,
      requests: Math.round(busy.requests),
      more: {
        median: median(took),
        highest: Math.max(...took),
        lines: took.length,
        'quiet: requests a minute': quiet.requests,
        'bytes up': quiet.up,
        'bytes down': quiet.down,
        commands: quiet.commands,
        'busy: requests a minute': busy.requests,
        'up, busy': busy.up,
        'down, busy': busy.down,
        'commands, busy': busy.commands,
      },
    };
  };
}

/** From a line's write to its arrival, ms; of what is no such line nothing. */
function delay({ text, at }: Line): number[] {
  const written = /^line \d+ at ([\d.]+)$/.exec(text)?.[1];
  return written ? [at - Number(written) * 1000] : [];
}

/** What goes over the client's link in a minute. */
export interface Traffic {
  requests: number;
  commands: number;
  up: number;
  down: number;
}

export async function during(testbed: Testbed, act: () => Promise<unknown>): Promise<Traffic> {
  const seen = async () => {
    const { client, requests, commands } = await testbed.observe();
    const own = requests.filter(({ link }) => link === 'client').length;
    return { at: performance.now(), requests: own, commands: commands.length, up: client.up, down: client.down };
  };
  const before = await seen();
  await act();
  const after = await seen();
  const minute = (of: keyof Traffic) => ((after[of] - before[of]) / (after.at - before.at)) * 60_000;
  return { requests: minute('requests'), commands: minute('commands'), up: minute('up'), down: minute('down') };
}
