import { setTimeout as sleep } from 'node:timers/promises';
import type { OurCourse } from '../contenders/ours';
import { during, type Traffic } from './followed';
import type { Measure, Stage } from './scenario';

const FOLLOWERS = 10;
/** So long for what follows to be open, and to be looked at, ms. */
const SETTLE = 10_000;
const LOOKED_AT = 20_000;
/** Seconds without a line, then lines to the end of the measurement and beyond. */
const TRAINING = ['5', '1000', '0.1', '0.5'];

/** Ten followers of one run, then a remote-cancel beside them: the time is from its first line to its last. */
export async function followedByTen({ course, testbed, measure, signal }: Stage<OurCourse>): Promise<Measure> {
  await course.sync(signal);
  const training = course.begin('remote-train', { options: { args: TRAINING }, endless: true, signal });
  await training.line(/^trains at/);
  // Its run is in the store by then.
  await sleep(2_000);
  training.kill();
  let traffic!: Traffic;
  let waited = 0;
  const measured = await measure(async () => {
    const followers = Array.from({ length: FOLLOWERS }, () => course.begin('remote-logs', { endless: true, signal }));
    await Promise.all(followers.map((each) => each.line(/^line \d+ at/, SETTLE * 3)));
    await sleep(SETTLE);
    traffic = await during(testbed, () => sleep(LOOKED_AT));
    const before = (await testbed.observe()).commands.length;
    if (before) throw new Error(`${before} commands were sent by followers`);
    const cancelled = await course.end('remote-cancel', { signal });
    const [command, ...more] = (await testbed.observe()).commands;
    if (more.length) throw new Error(`${more.length + 1} commands were sent by one remote-cancel`);
    waited = command.started! - command.requested;
    await Promise.all(followers.map((each) => each.done));
    return cancelled;
  });
  return {
    ...measured,
    requests: Math.round(traffic.requests / FOLLOWERS),
    sent: traffic.up / FOLLOWERS,
    received: traffic.down / FOLLOWERS,
    more: {
      waited,
      'commands by followers': traffic.commands,
      'requests a minute of each': traffic.requests / FOLLOWERS,
    },
  };
}
