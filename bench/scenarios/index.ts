import { readdirSync } from 'node:fs';
import { run, timed } from '../contenders/contender';
import { drive } from '../contenders/driver';
import { costOfRun } from './cost';
import { firstLine, firstTime, inTheCommand, oneCommand, oneWay, throughTheStore, underWatch } from '../report/floor';
import { followed } from './followed';
import { gang } from './gang';
import {
  aheadOfAll,
  atMostBytes,
  atMostFloors,
  atMostFloorsLoaded,
  atMostTimes,
  behindFloor,
  oneCommand as inOneCommand,
  timesAheadOf,
  within,
} from '../report/goals';
import { root } from '../programs';
import type { InputName } from '../inputs/inputs';
import type { Scenario, Stage } from './scenario';
import { interpreterStart, startedWarm } from './started';
import { followedByTen } from './ten-followers';
import { POLL, watched } from './watched';
import { wholeProcesses } from './nx-run';

const KB = 1_000;
const MB = 1_000 * KB;
/** A record of a sync, and requests' heads: what goes to S3 though no content does. */
const RECORDS = 64 * KB;
/** A plan that follows its command, with its request's head. */
const PLAN = 4 * KB;
/** The largest piece that an upload may have to send again. */
const PART = 16 * 1024 * 1024;

const again = async ({ course, measure, signal }: Stage) => {
  await course.sync(signal);
  return measure(() => course.sync(signal));
};

const edited = async ({ course, input, measure, signal }: Stage) => {
  await course.sync(signal);
  input.edit();
  return measure(() => course.sync(signal));
};

/** The table of goals. What is done before `measure` happens on a network without delays. */
export const scenarios: Scenario[] = [
  {
    name: 'first',
    title: 'first time',
    input: 'source',
    of: 'all',
    run: ({ course, measure, signal }) => measure(() => course.sync(signal)),
    floor: firstTime,
    goals: [atMostFloors(1), timesAheadOf('rsync', 1), aheadOfAll],
  },
  {
    name: 'edit',
    title: 'one line edited',
    input: 'source',
    of: 'all',
    run: edited,
    floor: (network, { delta }) => inTheCommand(network, delta),
    goals: [
      atMostFloorsLoaded(1.3),
      timesAheadOf('tarball', 12),
      timesAheadOf('rsync-ssh-kept', 1),
      timesAheadOf('rsync-ssh', 2),
    ],
  },
  {
    name: 'watch',
    title: 'one line edited under remote-watch',
    input: 'source',
    of: 'ours',
    run: watched,
    floor: (network, { delta }) => underWatch(network, delta, POLL),
    goals: [atMostFloors(1.5), within(500, ({ time }) => time, 'from the save to the instance')],
  },
  {
    name: 'unchanged',
    title: 'nothing changed',
    input: 'source',
    of: 'all',
    run: again,
    floor: oneCommand,
    goals: [
      within(300, ({ toCommand }) => toCommand, 'to the command'),
      atMostBytes(PLAN, ({ stored }) => stored, 'to S3'),
      inOneCommand,
      atMostFloorsLoaded(1.3),
    ],
  },
  {
    name: 'start',
    title: "remote-train to the training's first line",
    input: 'source',
    of: 'ours',
    run: startedWarm(false),
    floor: (network) => firstLine(network, interpreterStart()),
    goals: [atMostFloors(1.3), inOneCommand],
  },
  {
    name: 'start-edit',
    title: "one line edited, remote-train to the training's first line",
    input: 'source',
    of: 'ours',
    run: startedWarm(true),
    floor: (network) => firstLine(network, interpreterStart()),
    goals: [atMostFloors(1.3), inOneCommand],
  },
  ...wholeProcesses(),
  {
    name: 'log',
    title: 'a line of a log, streamed, 95th percentile',
    input: 'source',
    of: 'ours',
    run: followed('streamed'),
    floor: oneWay,
    goals: [behindFloor(500)],
  },
  {
    name: 'log-stored',
    title: 'a line of a log, no sessions, 95th percentile',
    input: 'source',
    of: 'ours',
    run: followed('stored'),
    floor: oneWay,
    goals: [],
  },
  {
    name: 'log-asked',
    title: 'a line of a log, no sessions and no way into the store, 95th percentile',
    input: 'source',
    of: 'ours',
    run: followed('asked'),
    floor: oneWay,
    goals: [],
  },
  {
    name: 'followers',
    title: 'remote-cancel beside ten followers',
    input: 'source',
    of: 'ours',
    run: followedByTen,
    goals: [within(350, ({ more }) => more.waited, 'its command, to its start')],
  },
  {
    name: 'cost',
    title: 'what a run costs its instance and its bucket, after ten minutes',
    input: 'source',
    network: {},
    of: 'ours',
    run: costOfRun,
    goals: [],
  },
  nodes(16),
  nodes(64),
  {
    name: 'second',
    title: 'second instance, same content',
    input: 'source',
    of: 'ours',
    run: async ({ course, measure }) => {
      await course.sync();
      return measure(() => course.syncSecondInstance());
    },
    floor: (network, { packed }) => throughTheStore(network, packed).filter(([what]) => !/ up$|acknowl/.test(what)),
    goals: [atMostBytes(RECORDS, ({ stored }) => stored, 'records only to S3:')],
  },
  {
    name: 'insert',
    title: '1 MB inserted in the middle',
    input: 'big',
    of: 'all',
    run: edited,
    floor: (network, { delta }) => throughTheStore(network, delta),
    goals: [atMostBytes(2 * MB, ({ sent }) => sent, 'sent'), timesAheadOf('rsync', 1)],
  },
  {
    name: 'many-unchanged',
    title: 'nothing changed, local work',
    input: 'many',
    network: {},
    of: 'ours',
    run: async (stage) => {
      const measured = await again(stage);
      const { begun, ended } = await drive('lstat-driver', { source: stage.input.source }, { cwd: root, env: {} });
      return { ...measured, more: { lstat: ended - begun, ratio: measured.toCommand! / (ended - begun) } };
    },
    goals: [atMostTimes(2, ({ more }) => more.ratio, 'just lstat-ing them, to the command')],
  },
  {
    name: 'many-first',
    title: 'first time',
    input: 'many',
    of: 'all',
    run: ({ course, measure, signal }) => measure(() => course.sync(signal)),
    floor: firstTime,
    goals: [atMostFloors(1.3)],
  },
  {
    name: 'killed',
    title: 'upload killed at 60 % and run again',
    input: 'upload',
    of: 'ours',
    run: async ({ course, testbed, input, network, measure }) => {
      await testbed.use(network);
      await course.killedAfter(input.packed * 0.6);
      const killed = (await testbed.observe()).client.up;
      const measured = await measure(() => course.sync());
      return { ...measured, more: { twice: killed + measured.sent - input.packed } };
    },
    goals: [atMostBytes(PART, ({ more }) => more.twice, 'sent twice')],
  },
  {
    name: 'freeze',
    title: "edit and train: freezing the run's directory",
    input: 'many',
    network: {},
    of: 'ours',
    run: async ({ course, input, measure }) => {
      await course.sync();
      input.edit();
      const synced = await measure(() => course.sync());
      input.restore();
      const trained = await measure(() => course.train());
      const copy = `${course.target()}.copy`;
      const { begun, ended } = await timed(() => run('cp', ['-al', course.target(), copy]));
      if (readdirSync(copy).length === 0) throw new Error('cp -al copied nothing');
      // Both bring one edit; the second freezes, and starts the run.
      const freeze = trained.onInstance! - synced.onInstance!;
      return { ...trained, more: { freeze, cp: ended - begun, ratio: freeze / (ended - begun) } };
    },
    goals: [atMostTimes(2, ({ more }) => more.ratio, 'cp -al of it')],
  },
  memory('memory', 'huge'),
  memory('memory-repeats', 'repeats'),
];

/** A training on so many launched instances, beside one on one. */
function nodes(count: number): Scenario {
  return {
    name: `nodes-${count}`,
    title: `remote-train on ${count} nodes to its first line`,
    input: 'few',
    of: 'ours',
    run: gang(count),
    goals: [
      atMostBytes(
        40 * KB,
        ({ more }) => more['client up KB, of a further node'] * KB,
        'of the client for each further node',
      ),
      atMostTimes(
        1.5,
        ({ more }) => more['writes a node a minute'] / more['writes, one node'],
        'the writes of one node',
      ),
    ],
  };
}

/** The highest memory of the client and of the runtime. */
function memory(name: string, input: InputName): Scenario {
  return {
    name,
    title: 'first time, peak memory',
    input,
    network: {},
    of: 'ours',
    run: async ({ course, testbed, measure }) => {
      await testbed.watchMemory();
      const measured = await measure(() => course.sync());
      return { ...measured, more: { remoteMemory: await testbed.peakMemory() } };
    },
    goals: [
      atMostBytes(300 * MB, ({ clientMemory }) => clientMemory, 'client'),
      atMostBytes(200 * MB, ({ more }) => more.remoteMemory, 'runtime'),
    ],
  };
}
