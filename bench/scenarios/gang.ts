import { setTimeout as sleep } from 'node:timers/promises';
import type { OurCourse } from '../contenders/ours';
import type { Testbed } from '../testbed/testbed';
import type { Measure, Stage } from './scenario';

/** Looked at so long, s, while all nodes train and print a line a second. */
const LOOKED_AT = 60;
const MARGIN = 5;
/** ms for the first line: two cores start all nodes. */
const LIMIT = 900_000;

interface Gang {
  /** From the executor's first line to the training's first one, ms. */
  start: number;
  /** Bytes of the client until then: in all, and to S3 alone. */
  up: number;
  stored: number;
  /** Of a node, in a minute of its training. */
  reads: number;
  writes: number;
  /** Of the client, in the same minute. */
  followed: { requests: number; down: number };
}

/**
 * remote-train on one launched instance, and on so many, whose supervisors, reporters and watchdogs are all real: how the
 * start, the client's bytes and the requests of a node grow. All share this machine's cores, as nodes do not.
 */
export function gang(count: number): (stage: Stage<OurCourse>) => Promise<Measure> {
  return async (stage) => {
    await stage.course.sync(stage.signal);
    const [, one] = await measureGang(stage, 1);
    const [measured, all] = await measureGang(stage, count);
    return {
      ...measured,
      time: all.start,
      more: {
        nodes: count,
        'start, of one node ms': one.start,
        'start ratio': all.start / one.start,
        'client up KB, one node': one.up / 1000,
        'client up KB, of a further node': (all.up - one.up) / (count - 1) / 1000,
        'of it to S3 KB': (all.stored - one.stored) / (count - 1) / 1000,
        'reads a node a minute': all.reads,
        'writes a node a minute': all.writes,
        'reads, one node': one.reads,
        'writes, one node': one.writes,
        'client: requests a minute': all.followed.requests,
        'requests a minute, one node': one.followed.requests,
        'client down KB a minute': all.followed.down / 1000,
        'down KB a minute, one node': one.followed.down / 1000,
      },
    };
  };
}

async function measureGang({ course, testbed, measure, signal }: Stage<OurCourse>, count: number) {
  let found!: Gang;
  const measured = await measure(async () => {
    const begun = Date.now();
    const training = course.begin('remote-train', { options: options(count), signal });
    const line = await training.line(/\btrains at/, LIMIT);
    const started = await seen(testbed);
    await sleep(MARGIN * 1000);
    const before = await seen(testbed);
    await sleep(LOOKED_AT * 1000);
    const after = await seen(testbed);
    const minutes = (after.at - before.at) / 60_000;
    found = {
      start: line.at - begun,
      up: started.up,
      stored: started.stored,
      reads: (after.reads - before.reads) / minutes / count,
      writes: (after.writes - before.writes) / minutes / count,
      followed: {
        requests: (after.requests - before.requests) / minutes,
        down: (after.down - before.down) / minutes,
      },
    };
    await training.done;
    course.forgetArtifacts();
    return { begun, ended: line.at };
  });
  return [measured, found] as const;
}

function options(nodes: number) {
  const lines = LOOKED_AT + 4 * MARGIN;
  return {
    json: false,
    instance: { type: 't3.medium', instanceProfile: 'nx-ec2' },
    nodes,
    // The last word makes it another training than the one before.
    args: ['0', lines, 1, 1, Date.now()].map(String),
  };
}

/** What has gone over the client's link, and what instances have asked of S3. */
async function seen(testbed: Testbed) {
  const { client, requests } = await testbed.observe();
  const own = requests.filter(({ link }) => link === 'client');
  const ofNodes = requests.filter(({ link, service }) => link === 'instance' && service === 's3');
  const writes = (action: string) => action === 'PUT' || action === 'POST';
  return {
    at: performance.now(),
    ...client,
    requests: own.length,
    stored: own
      .filter(({ service, action }) => service === 's3' && writes(action))
      .reduce((sum, { up }) => sum + up, 0),
    reads: ofNodes.filter(({ action }) => action === 'GET').length,
    writes: ofNodes.filter(({ action }) => writes(action)).length,
  };
}
