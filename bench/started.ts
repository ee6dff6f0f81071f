import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { OurCourse } from './contenders/ours';
import type { Line } from './contenders/terminal';
import { median } from './percentile';
import type { Measure, Stage } from './scenario';

const ROUNDS = 5;

/** From the executor's first line to the training's first one on the terminal, with what happened on the way, ms from its begin on. */
export function startedWarm(edit: boolean): (stage: Stage<OurCourse>) => Promise<Measure> {
  return async ({ course, ground, input, measure, signal }) => {
    await course.sync(signal);
    if (edit) input.edit();
    let more = {};
    const measured = await measure(async () => {
      const training = course.begin('remote-train', { signal });
      const line = await training.line(FIRST);
      const { begun, startUp, clientMemory, out } = await training.done;
      const { requests, commands } = await ground.observe();
      const [command] = commands;
      const { run } = JSON.parse(out.trim().split('\n').pop()!) as { run: string };
      const record = runRecord(ground.place.instances[0].disk, run);
      more = {
        's3 first': since(begun, requests.find(({ service, link }) => service === 's3' && link === 'client')?.sent),
        sent: since(begun, requests.find(({ action }) => action === 'SendCommand')?.sent),
        script: since(begun, command.started),
        synced: since(begun, record.createdAt),
        'training started': since(begun, record.startedAt),
        'first line written': since(begun, writtenAt(line)),
        'command ended': since(begun, command.ended),
        'on the terminal': since(begun, line.at),
      };
      return { begun, ended: line.at, startUp, clientMemory };
    });
    course.forgetArtifacts();
    return { ...measured, more };
  };
}

/** The same by `nx run`, from the process's start on; and Nx alone, by an executor that does nothing. */
export async function startedByNx({ course, measure, signal }: Stage<OurCourse>): Promise<Measure> {
  await course.sync(signal);
  const nothing: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const started = Date.now();
    const nx = course.nx('nothing');
    nothing.push((await nx.line(/nothing$/)).at - started);
    await nx.done;
  }
  const measured = await measure(async () => {
    const begun = Date.now();
    const training = course.nx('remote-train', course.reach);
    const ended = (await training.line(FIRST)).at;
    await training.done;
    return { begun, ended };
  });
  course.forgetArtifacts();
  const nx = median(nothing);
  return { ...measured, more: { nx, without: measured.time - nx } };
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

const FIRST = /\btrains at [\d.]+/;

function writtenAt({ text }: Line): number {
  return Number(/at ([\d.]+)/.exec(text)![1]) * 1000;
}

function since(begun: number, at: number | null | undefined): number {
  return at ? at - begun : NaN;
}

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
