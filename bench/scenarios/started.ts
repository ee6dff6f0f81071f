import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { OurCourse } from '../contenders/ours';
import type { Line } from '../contenders/terminal';
import type { Testbed } from '../testbed/testbed';
import { median } from '../report/percentile';
import type { Measure, Stage } from './scenario';

const ROUNDS = 5;
/** The training goes on for so long, s: its first line is not there because it has ended. */
const LASTING_ARGS = ['1.5', '1', '0.1', '0.1'];
/** The last word makes each training another one: the same training is found and not started. */
export const lastingArgs = () => [...LASTING_ARGS, String(Date.now())];

/** From the executor's first line to the training's first one on the terminal, with what happened on the way, ms from its begin on. */
export function startedWarm(edit: boolean): (stage: Stage<OurCourse>) => Promise<Measure> {
  return async ({ course, testbed, input, measure, signal }) => {
    await course.sync(signal);
    if (edit) input.edit();
    let more = {};
    const measured = await measure(async () => {
      const training = course.begin('remote-train', { options: { args: lastingArgs() }, signal });
      const line = await training.line(FIRST);
      const { begun, startUp, clientMemory } = await training.done;
      more = await onTheWay(testbed, course.disk, begun, line);
      return { begun, ended: line.at, startUp, clientMemory };
    });
    course.forgetArtifacts();
    return { ...measured, more };
  };
}

/** When what happened, ms from the begin on. */
export async function onTheWay(
  testbed: Testbed,
  disk: string,
  begun: number,
  line: Line,
): Promise<Record<string, number>> {
  const { requests, commands } = await testbed.observe();
  const [command] = commands;
  const records = readdirSync(join(disk, 'root/runs')).map((run) => runRecord(disk, run));
  const record = records.reduce((last, each) => (each.createdAt > last.createdAt ? each : last));
  const at = {
    'first request': requests.find(({ link }) => link === 'client')?.sent,
    'command sent': requests.find(({ action }) => action === 'SendCommand')?.sent,
    'script begins': command.started,
    synced: record.createdAt,
    'training started': record.startedAt,
    'first line written': Number(/at ([\d.]+)/.exec(line.text)![1]) * 1000,
    'command ended': command.ended,
    'on the terminal': line.at,
  };
  return Object.fromEntries(Object.entries(at).map(([what, time]) => [what, (time ?? NaN) - begun]));
}

/** What an interpreter takes to start and print, ms: the median. */
export function interpreterStart(): number {
  const times = Array.from({ length: ROUNDS * 3 }, () => {
    const begun = performance.now();
    spawnSync('python3', ['-c', 'print("trains", flush=True)']);
    return performance.now() - begun;
  });
  return median(times);
}

export const FIRST = /\btrains at [\d.]+/;

export interface RunOnDisk {
  createdAt: number;
  startedAt: number;
  /** Process numbers. */
  supervisor: number;
  pid: number;
}

/** A run's record on the instance. */
export function runRecord(disk: string, run: string): RunOnDisk {
  return JSON.parse(readFileSync(join(disk, 'root/runs', run, 'run.json'), 'utf8')) as RunOnDisk;
}
