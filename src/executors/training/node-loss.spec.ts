import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GetObjectCommand } from '@aws-sdk/client-s3';
import { until } from '../../system/until.fixture';
import { Workshop } from '../lib/executor-harness.fixture';

// Node resolves the name of the built file.
jest.mock('./start-on-launched-instance.js', () => jest.requireActual('./start-on-launched-instance'), {
  virtual: true,
});

/** Waits as long as the test holds instances back, but for one that it lets through. */
const SETUP = `
import os, sys, time
place, here = sys.argv[1], os.path.abspath(__file__).split("/instances/")[1].split("/")[0]
open(os.path.join(place, here), "w").close()
while os.path.exists(os.path.join(place, "hold")) and not os.path.exists(os.path.join(place, here + ".pass")):
    time.sleep(0.05)
`;

/** Saves its only checkpoint when it is told to end; waits in its first attempt if `waits` is there. */
const TRAINING = `
import os, signal, sys, time
rank, attempt = os.environ["NX_EC2_NODE_RANK"], os.environ["NX_EC2_ATTEMPT"]
saved = os.path.join(os.environ["NX_EC2_CHECKPOINT_DIR"], "step.txt")
step = open(saved).read() if os.path.exists(saved) else "0"
print("node %s, attempt %s, from step %s" % (rank, attempt, step), flush=True)
def save(*_):
    if rank == "0":
        with open(saved + ".part", "w") as file:
            file.write("1")
        os.rename(saved + ".part", saved)
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
while attempt == "1" and os.path.exists("waits"):
    time.sleep(0.05)
os.makedirs("artifacts", exist_ok=True)
with open("artifacts/shard-" + rank, "w") as file:
    file.write("of %s, %s" % (rank, os.environ["TEST"]))
`;

/** Phases of a node, and whether the training has to begin again if its instance gets a spot notice in one. */
const PHASES = [
  ['starts', true],
  ['sets its environment up', true],
  ['is ready, and the other is not', true],
  ['trains', true],
  ['saves', false],
  ['has saved, and the other has not', false],
] as const;
type Phase = (typeof PHASES)[number][0];
const CASES = PHASES.flatMap(([phase, again]) => [0, 1].map((rank) => [phase, rank, again] as const));

/** Whether instances wait in their set-up until the test lets them go on. */
const holdsBack = (phase: Phase) => !['starts', 'trains', 'saves'].includes(phase);

describe('A training on two nodes', () => {
  let shop: Workshop;
  const place = mkdtempSync(join(tmpdir(), 'nx-ec2-loss-'));
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/train.py', TRAINING);
    shop.write('model/setup.py', SETUP);
  });
  afterAll(async () => {
    await shop.close();
    rmSync(place, { recursive: true });
  });

  const launched = (test: string) => shop.at.aws.instances.all().filter(({ tags }) => tags.test === test);

  const runId = () => /Training (\S+) started/.exec(shop.printed)?.[1];

  /** The text of the record of a node. */
  const record = async (rank: number) => {
    const Key = `v2/projects/model/run/${runId()}/${rank ? `node/${rank}/` : ''}record.json`;
    const read = shop.at.s3.send(new GetObjectCommand({ Bucket: 'bucket', Key }));
    const text = await read.then(({ Body }) => Body!.transformToString()).catch(() => '');
    return text.replaceAll('\\', '');
  };

  const prepare = ([phase, rank, again]: (typeof CASES)[number]) => {
    rmSync(place, { recursive: true });
    mkdirSync(place);
    if (holdsBack(phase)) writeFileSync(join(place, 'hold'), '');
    // An attempt that has to begin again must not end by itself before the notice is noticed.
    if (again) shop.write('model/waits', '');
    else rmSync(join(shop.workspace, 'model/waits'), { force: true });
    if (phase === 'saves') refuse(rank ? '/node/1/artifacts.json' : '/artifacts.json');
  };

  const refuse = (path: string) => {
    const error = { code: 'SlowDown', status: 503 };
    shop.at.aws.faults.add({ service: 's3', link: 'instance', path, times: 1_000_000, error });
  };

  const isIn = async (phase: Phase, rank: number, ids: string[]): Promise<boolean> => {
    if (ids.length < 2) return false;
    if (phase === 'trains') return shop.printed.includes('node 0, attempt 1');
    if (phase === 'saves') return /"state": ?"saving"/.test(await record(rank));
    if (!holdsBack(phase)) return true;
    const isHere = ids.every((id) => existsSync(join(place, id)));
    if (phase === 'sets its environment up' || !isHere) return isHere;
    if (phase.startsWith('has saved')) {
      // The other node can't.
      if (existsSync(join(place, 'hold'))) refuse(rank ? `/run/${runId()}/artifacts.json` : '/node/1/artifacts.json');
      rmSync(join(place, 'hold'), { force: true });
      return /"state": ?"saved"/.test(await record(rank));
    }
    writeFileSync(join(place, `${ids[rank]}.pass`), '');
    return /"phase": ?"ready"/.test(await record(rank));
  };

  const check = async (found: (typeof CASES)[number]) => {
    const [phase, rank, again] = found;
    const test = `${phase} ${rank}`;
    prepare(found);
    const instance = { type: 'm5.large', spot: true, instanceProfile: 'training', tags: { test } };
    const training = shop.run<{ attempts: number }>('remote-train', {
      instance: { ...instance, onFinish: { failure: 'terminate' } },
      train: { script: 'train.py', nodes: 2, setup: `python3 setup.py ${place}`, env: { TEST: test } },
    });
    const failed = training.then(() => {
      throw new Error('it has ended');
    });
    const ids = () => launched(test).map(({ id }) => id);
    await Promise.race([failed, until(() => isIn(phase, rank, ids()))]);
    shop.at.aws.interrupt(ids()[rank]);
    shop.at.aws.faults.clear();
    rmSync(join(place, 'hold'), { force: true });
    const { attempts } = await training;
    expect(attempts).toBe(again ? 2 : 1);
    expect(launched(test)).toHaveLength(again ? 3 : 2);
    expect(new Set(launched(test).map(({ state }) => state))).toEqual(new Set(['terminated']));
    for (const shard of [0, 1])
      expect(readFileSync(join(shop.workspace, `model/artifacts/shard-${shard}`), 'utf8')).toBe(`of ${shard}, ${test}`);
  };

  it.each(CASES)('has its result if an instance gets a spot notice while it %s: node %d', (...found) => check(found));
});
