import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OurCourse } from '../contenders/ours';
import { processorTime } from '../processor/processor-time';
import type { Testbed } from '../testbed/testbed';
import { runRecord } from './started';
import type { Measure, Stage } from './scenario';

/** A run that is older writes its log less often, s. */
const YOUNG = 600;
/** Looked at so long, s: quiet, and then with a line a second. */
const LOOKED_AT = 120;
const MARGIN = 10;

/** What lasts on the instance for one run that nobody follows: memory, processor, requests to S3. Linux alone. */
export async function costOfRun({ course, testbed, measure, signal }: Stage<OurCourse>): Promise<Measure> {
  await course.sync(signal);
  const quiet = YOUNG + LOOKED_AT + 2 * MARGIN;
  const args = [quiet, LOOKED_AT + 2 * MARGIN, 1, 1].map(String);
  let more = {};
  const measured = await measure(async () => {
    const begun = Date.now();
    const training = course.begin('remote-train', { options: { args }, endless: true, signal });
    await training.line(/^trains at/);
    await sleep(MARGIN * 1000);
    training.kill();
    const { disk } = testbed.place.instances[0];
    const [run] = readdirSync(join(disk, 'root/runs'));
    const { supervisor, pid } = runRecord(disk, run);
    const processes = [supervisor, reporterOf(supervisor, pid)];
    await sleep(YOUNG * 1000);
    const silent = await during(testbed, processes);
    await sleep(2 * MARGIN * 1000);
    const speaking = await during(testbed, processes);
    const [ofSupervisor, ofReporter] = processes.map(memory);
    more = {
      'supervisor RSS MB': ofSupervisor.rss,
      'PSS MB': ofSupervisor.pss,
      'reporter RSS MB': ofReporter.rss,
      'its PSS MB': ofReporter.pss,
      'quiet: processor ms a minute': silent.processor,
      'PUTs an hour': silent.writes,
      'bytes an hour': silent.bytes,
      'a line a second: processor ms a minute': speaking.processor,
      'PUTs an hour, speaking': speaking.writes,
      'bytes an hour, speaking': speaking.bytes,
    };
    return { begun, ended: Date.now() };
  });
  return { ...measured, more };
}

async function during(testbed: Testbed, processes: number[]) {
  const seen = async () => {
    const written = (await testbed.observe()).requests.filter(
      ({ service, action, link }) => service === 's3' && link === 'instance' && (action === 'PUT' || action === 'POST'),
    );
    const processor = processes.reduce((sum, pid) => sum + processorTime(pid).own, 0);
    return { processor, writes: written.length, bytes: written.reduce((sum, { up }) => sum + up, 0) };
  };
  const before = await seen();
  await sleep(LOOKED_AT * 1000);
  const after = await seen();
  return {
    processor: ((after.processor - before.processor) / LOOKED_AT) * 60,
    writes: ((after.writes - before.writes) / LOOKED_AT) * 3600,
    bytes: ((after.bytes - before.bytes) / LOOKED_AT) * 3600,
  };
}

function reporterOf(supervisor: number, training: number): number {
  const children = readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, 'utf8')
    .trim()
    .split(' ')
    .map(Number);
  return children.find((pid) => pid !== training)!;
}

/** MB. */
function memory(pid: number): { rss: number; pss: number } {
  const smaps = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const mb = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(smaps)![1]) / 1000;
  return { rss: mb('Rss'), pss: mb('Pss') };
}
