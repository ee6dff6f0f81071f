import type { Timing } from '../contenders/contender';
import type { OurCourse } from '../contenders/ours';
import type { Input } from '../inputs/inputs';
import { mean, median } from '../report/percentile';
import { AGAINST, BARE, NOTHING, type Measure, type Stage } from './scenario';
import { FIRST, lastingArgs, onTheWay } from './started';

interface Kind {
  /** What is done before each run. */
  edit: boolean;
  /** Nx's own. */
  daemon: boolean;
  /** Absent: remote-sync, to its exit. */
  toFirstLine?: boolean;
}

/** A process that is measured in turn with others. */
interface Series {
  name: string;
  run(round: number): Promise<Timing & { more?: Record<string, number> }>;
}

/**
 * Whole processes of `nx run model:remote-sync` or `model:remote-train`, in turn with `nx run` of an executor that does
 * nothing, in the same workspace and in one without nx-ec2. The time is from the process's start to its exit, or to the
 * first line of what it runs.
 */
export function wholeProcess(kind: Kind): (stage: Stage<OurCourse>) => Promise<Measure> {
  return async (stage) => {
    const { measure, rounds } = stage;
    const bare = stage.workspaceWith('none')!;
    const against = stage.workspaceWith('against');
    const series = [
      nothing(BARE, bare.course, kind, stage),
      nothing(NOTHING, stage.course, kind, stage),
      await ours('nx-ec2', stage, kind, stage),
      ...(against ? [await ours(AGAINST, against, kind, stage)] : []),
    ];
    const measures = new Map<string, Measure[]>(series.map(({ name }) => [name, []]));
    // Nx's cache, V8's code and Nx's daemon are as they are after many runs.
    for (const { run } of series) await run(0);
    for (let round = 1; round <= rounds; round++)
      for (const { name, run } of series) {
        let more = {};
        const one = await measure(async () => {
          const timing = await run(round);
          more = timing.more ?? {};
          return timing;
        });
        measures.get(name)!.push({ ...one, more });
      }
    const onInstance = await processesOnInstance(stage, series[2]);
    const of = (name: string) => measures.get(name)!;
    const share = (name: string) => ({
      'our share': paired(of(name), of(NOTHING), ({ time }) => time),
      'processor, our share': paired(of(name), of(BARE), ({ processor }) => processor.client!),
    });
    const withShare = (name: string) => {
      const summary = summarize(of(name));
      return { ...summary, more: { ...share(name), ...summary.more } };
    };
    const mine = withShare('nx-ec2');
    return {
      ...mine,
      more: { ...mine.more, ...onInstance },
      inTurn: {
        ...Object.fromEntries([NOTHING, BARE].map((name) => [name, summarize(of(name))])),
        ...(against ? { [AGAINST]: withShare(AGAINST) } : {}),
      },
    };
  };
}

/** Processor time of each process of the command, ms, in one more round. */
async function processesOnInstance({ testbed }: Stage, { run }: Series): Promise<Record<string, number>> {
  await testbed.watchProcesses();
  await run(0);
  const processes = await testbed.processes();
  return Object.fromEntries(
    processes.map(({ program, processor }, index) => [`instance's process ${index + 1}, ${program}`, processor]),
  );
}

function nothing(name: string, course: OurCourse, { daemon, toFirstLine }: Kind, { signal }: Stage): Series {
  return {
    name,
    run: async () => {
      const terminal = course.nx('nothing', { daemon, signal });
      const line = await terminal.line(/^nothing$/);
      const timing = await terminal.done;
      return toFirstLine ? { ...timing, ended: line.at } : timing;
    },
  };
}

async function ours(
  name: string,
  { course, input }: { course: OurCourse; input: Input },
  { edit, daemon, toFirstLine }: Kind,
  { testbed, signal }: Stage,
): Promise<Series> {
  await course.sync(signal);
  return {
    name,
    run: async (round) => {
      if (edit) input.edit(round + 1);
      if (!toFirstLine) return await course.nx('remote-sync', { daemon, signal }).done;
      const training = course.nx('remote-train', {
        daemon,
        signal,
        options: [`--args=${lastingArgs().join(' ')}`],
      });
      const line = await training.line(FIRST);
      const timing = await training.done;
      course.forgetArtifacts();
      // Before the first measured round there is no command that was observed.
      const more = round ? await onTheWay(testbed, course.disk, timing.begun, line) : {};
      return { ...timing, ended: line.at, more };
    },
  };
}

/** The median of the differences of what was measured in the same round. */
export function paired(of: Measure[], less: Measure[], value: (measure: Measure) => number): number {
  return median(of.map((each, round) => value(each) - value(less[round])));
}

/** The measure with the median time; processor time is the median of the client's, which has a fine resolution, and the mean of the instance's. */
export function summarize(all: Measure[]): Measure {
  const middle = [...all].sort((a, b) => a.time - b.time)[(all.length - 1) >> 1];
  const times = all.map(({ time }) => time);
  const known = (values: (number | undefined)[], of: (values: number[]) => number) =>
    values.every((value) => value !== undefined) ? of(values as number[]) : undefined;
  return {
    ...middle,
    processor: {
      client: known(
        all.map(({ processor }) => processor.client),
        median,
      ),
      instance: known(
        all.map(({ processor }) => processor.instance),
        mean,
      ),
    },
    more: { ...middle.more, fastest: Math.min(...times), slowest: Math.max(...times) },
  };
}
