import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { until } from '../../system/until.fixture';
import { startPipeline } from '../pipeline.fixture';
import { allGone, FleetPipeline, removeAll } from './fleet.fixture';

/** Each attempt before the last one saves a checkpoint and trains until it is ended. */
const training = (last: number) => `
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
rank, count, attempt = int(os.environ["NODE_RANK"]), int(os.environ["NX_EC2_NUM_NODES"]), int(os.environ["NX_EC2_ATTEMPT"])
place = os.environ["NX_EC2_CHECKPOINT_DIR"]
print("attempt %d of node %d of %d from %s" % (attempt, rank, count, sorted(os.listdir(place))), flush=True)
if rank == 0:
    with open(os.path.join(place, "new"), "w") as file:
        file.write(str(attempt))
    os.rename(os.path.join(place, "new"), os.path.join(place, "step-%d" % attempt))
if attempt < ${last}:
    time.sleep(600)
`;

describe('a run on MIN:MAX nodes, each with a fleet', () => {
  let at: Fixture;
  let pipe: FleetPipeline;
  beforeAll(async () => void (at = await startPipeline({ instances: [] })));
  afterAll(() => at.close());
  const open = (last: number) => {
    pipe?.close();
    pipe = new FleetPipeline(at, {}, '2:3', { growAfter: '2s' }).createRunContext();
    pipe.write('model/train.py', training(last));
  };
  afterEach(() => removeAll(at));

  /** Starts it as a client that is killed when all fleets are there. */
  const launchAndDie = async (): Promise<string> => {
    const killed = new AbortController();
    let run = '';
    const onLaunched = (launched: string) => {
      run = launched;
      killed.abort();
    };
    await expect(pipe.launchFleet({ signal: killed.signal, onLaunched })).rejects.toBeDefined();
    return run;
  };
  const trains = (run: string, attempt: number, nodes: number) =>
    until(
      async () => {
        const first = await pipe.recordOf(run);
        const isSaved = first?.checkpoints.some((each) => each.attempt === attempt);
        return isSaved && first?.attempt === attempt && first.nodes.length === nodes ? first : null;
      },
      { seconds: 300 },
    );
  const succeeded = (run: string) =>
    until(
      async () => {
        const record = await pipe.recordOf(run);
        return record?.outcome === 'succeeded' ? record : null;
      },
      { seconds: 300 },
    );

  it.each([
    ['is taken back', 1],
    ['vanishes', 2],
    ['that was the first one vanishes', 0],
  ])('continues on the others if a node %s, and grows again, without a client', async (how, rank) => {
    open(3);
    const run = await launchAndDie();
    const before = await trains(run, 1, 3);
    const { instance } = before.nodes[rank];
    if (how === 'is taken back') at.aws.interrupt(instance, { noticeMs: 8_000 });
    else await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [instance] }));
    const record = await succeeded(run);
    expect(record.attempts.slice(0, 2)).toMatchObject([{ nodes: 3 }, { nodes: 2 }]);
    expect(record.nodes).toHaveLength(3);
    expect(record.restoredFrom).toMatchObject({ unit: 'step-2' });
    const kept = before.nodes.map((each) => each.instance).filter((each) => each !== instance);
    expect(record.nodes.map((each) => each.instance)).toEqual(expect.arrayContaining(kept));
    await allGone(at);
  });

  it('begins on as many as there is capacity for, and grows when there is more', async () => {
    open(2);
    at.aws.capacity.add({ market: 'spot', instances: 2 });
    const run = await launchAndDie();
    await trains(run, 1, 2);
    at.aws.capacity.clear();
    const record = await succeeded(run);
    expect(record.attempts[0]).toMatchObject({ nodes: 2 });
    expect(record.nodes).toHaveLength(3);
    await allGone(at);
  });
});
