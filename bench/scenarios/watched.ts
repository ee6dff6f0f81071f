import { setTimeout as sleep } from 'node:timers/promises';
import type { OurCourse } from '../contenders/ours';
import type { Save } from '../contenders/watching';
import type { Measure, Stage } from './scenario';

/** The watcher on the instance looks so often for an edit, ms. */
export const POLL = 100;
/** Saves that are measured, after one that is not; so long after the one before, ms. */
const SAVES = 7;
const APART = 500;

/** Saves under remote-watch. What is measured is the middle one: from the save to the instance's copy having it. */
export async function watched({ course, testbed, input, measure, signal }: Stage<OurCourse>): Promise<Measure> {
  await course.sync(signal);
  const watching = await course.watch(signal);
  const saves: Save[] = [];
  const measured = await measure(async () => {
    for (let time = 0; time <= SAVES; time++) {
      saves.push(await watching.save(() => input.edit(time + 1)));
      // Any moment between two looks of the watcher is as likely as another.
      await sleep(APART + (time * POLL) / SAVES);
    }
    saves.shift();
    return middle(saves, ({ begun, ended }) => ended - begun);
  });
  const { startUp, clientMemory } = await watching.pressCtrlC();
  await testbed.idle();
  const took = saves.map(({ begun, ended }) => ended - begun);
  const acknowledged = middle(saves.map(({ begun, acknowledged }) => acknowledged - begun));
  const one = (all: number) => Math.round(all / (SAVES + 1));
  return {
    ...measured,
    // Of one save.
    sent: one(measured.sent),
    requests: one(measured.requests),
    stored: one(measured.stored),
    startUp,
    clientMemory,
    more: { fastest: Math.min(...took), slowest: Math.max(...took), acknowledged },
  };
}

function middle<T>(all: T[], by: (each: T) => number = Number): T {
  return [...all].sort((a, b) => by(a) - by(b))[all.length >> 1];
}
