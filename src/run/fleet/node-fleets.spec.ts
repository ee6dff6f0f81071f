import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { NOTHING_LEFT, type Fixture } from '../../local-aws/local-aws.fixture';
import { Mortal, mortality } from '../../system/mortal.fixture';
import { until } from '../../system/until.fixture';
import { resolveRun } from '../find/find-run';
import { cancelRun } from '../stop/cancel';
import { startPipeline } from '../pipeline.fixture';
import { cancelWithFleet } from './cancel-fleet';
import { allGone, FleetPipeline, removeAll } from './fleet.fixture';

/**
 * Four steps, each a checkpoint of rank 0, before each of which all nodes meet; each of the first attempts waits after
 * its first step for what takes an instance away. @param taken so many attempts.
 */
const training = (taken = 0) => `
import os, socket, time
rank, count, attempt = int(os.environ["NODE_RANK"]), int(os.environ["NX_EC2_NUM_NODES"]), int(os.environ["NX_EC2_ATTEMPT"])
place = os.environ["NX_EC2_CHECKPOINT_DIR"]
done = max([0] + [int(name.split("-")[1]) for name in os.listdir(place) if name.startswith("step-")])
at = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
print("attempt %d of node %d of %d from step %d" % (attempt, rank, count, done), flush=True)
if rank == 0:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(at)
    server.listen()
    others = [server.accept()[0] for _ in range(count - 1)]
else:
    while True:
        try:
            others = [socket.create_connection(at)]
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
for other in others:
    other.sendall(b"%d" % done)
assert all(int(other.recv(1)) in (0, done) for other in others)
for step in range(done + 1, 5):
    if rank == 0:
        with open(os.path.join(place, "new"), "w") as file:
            file.write(str(step))
        os.rename(os.path.join(place, "new"), os.path.join(place, "step-%d" % step))
    print("step", step, flush=True)
    if attempt <= ${taken}:
        time.sleep(600)
os.makedirs("artifacts", exist_ok=True)
open("artifacts/of-%d" % rank, "w").write(str(rank))
`;

describe('a run on several nodes, each with a fleet', () => {
  let at: Fixture;
  let pipe: FleetPipeline;
  beforeAll(async () => void (at = await startPipeline({ instances: [] })));
  afterAll(() => at.close());
  const open = (more: object = {}, nodes = 2) => {
    pipe?.close();
    pipe = new FleetPipeline(at, { ...more }, nodes).createRunContext();
    pipe.write('model/train.py', training());
  };
  beforeEach(() => open());
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
  /** A node that trains in an attempt of which the first node has saved a checkpoint. */
  const trains = (run: string, rank: number, attempt: number) =>
    until(async () => {
      const [first, own] = await Promise.all([pipe.recordOf(run), pipe.recordOf(run, rank)]);
      const isSaved = first?.checkpoints.some((each) => each.attempt === attempt);
      return isSaved && own?.attempt === attempt && own.state === 'running' ? own : null;
    });
  const ended = (run: string) =>
    until(async () => {
      const record = await pipe.recordOf(run);
      return record?.state === 'ended' ? record : null;
    });

  it('ends without a client, and leaves nothing', async () => {
    const run = await launchAndDie();
    const record = await ended(run);
    expect(record).toMatchObject({ outcome: 'succeeded', attempt: 1, nodes: [{ rank: 0 }, { rank: 1 }] });
    await allGone(at);
    expect(at.aws.left()).toEqual(NOTHING_LEFT);
    expect(await pipe.recordOf(run, 1)).toMatchObject({ outcome: 'succeeded', attempt: 1 });
    const places = at.aws.instances.all().filter(({ tags }) => tags['nx-ec2:run'] === run);
    expect(new Set(places.map(({ type, zone }) => `${type} ${zone}`)).size).toBe(1);
    // A client that comes back finds it.
    const again = await pipe.launchFleet();
    expect(again).toMatchObject({ attached: 'ended', run: { id: run } });
  });

  it.each([
    ['another node', [1]],
    ['the first node', [0]],
    ['one node, and then the other', [1, 0]],
  ])('continues without a client if EC2 takes %s back', async (_, ranks) => {
    pipe.write('model/train.py', training(ranks.length));
    const run = await launchAndDie();
    const kept = new Set<string>();
    for (const [n, rank] of ranks.entries()) {
      const { instance } = await trains(run, rank, n + 1);
      kept.add((await pipe.recordOf(run, 1 - rank))!.instance);
      at.aws.interrupt(instance, { noticeMs: 6_000 });
    }
    const record = await until(async () => {
      const found = await pipe.recordOf(run);
      return found?.state === 'ended' && found.outcome !== 'interrupted' ? found : null;
    });
    expect(record).toMatchObject({ outcome: 'succeeded', attempt: ranks.length + 1 });
    expect(record.restoredFrom).toMatchObject({ unit: `step-${ranks.length}` });
    // The nodes that were left were kept.
    if (ranks.length === 1) expect(kept).toContain(record.nodes[1 - ranks[0]].instance);
    await allGone(at);
  });

  it('continues without a client if a node vanishes', async () => {
    pipe.write('model/train.py', training(1));
    const run = await launchAndDie();
    const { instance } = await trains(run, 1, 1);
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [instance] }));
    const record = await until(async () => {
      const found = await pipe.recordOf(run);
      return found?.outcome === 'succeeded' ? found : null;
    });
    expect(record).toMatchObject({ attempt: 2, restoredFrom: { unit: 'step-1' } });
    await allGone(at);
  });

  it.each([0, 1])('keeps nothing if node %d gets no capacity, without a client', async (rank) => {
    open({ startupTimeout: '8s' });
    at.aws.capacity.add({ market: 'spot', instances: 1 });
    // The fleet that is created first gets it.
    if (rank === 0) at.aws.faults.add({ service: 'ec2', action: 'CreateFleet', delay: 2_000, times: 1 });
    const run = await launchAndDie();
    const record = await ended(run);
    expect(record).toMatchObject({
      outcome: 'setup-failed',
      failure: { code: 'NODES_MISSING' },
      failedNode: { rank, why: 'missing', instance: null },
    });
    await allGone(at);
  });

  it.each([
    [1, { attempt: 2, failure: { code: 'NODES_MISSING' } }],
    [0, { attempt: 1, failedNode: { rank: 0, why: 'missing' } }],
  ])('ends as interrupted, and keeps nothing, if no instance comes in the place of node %d', async (rank, end) => {
    open({ startupTimeout: '15s' });
    pipe.write('model/train.py', training(9));
    const run = await launchAndDie();
    const { instance } = await trains(run, rank, 1);
    at.aws.capacity.add({ market: 'spot' });
    at.aws.interrupt(instance, { noticeMs: 6_000 });
    await allGone(at);
    expect(await pipe.recordOf(run)).toMatchObject({
      outcome: 'interrupted',
      stop: { reason: 'not-replaced' },
      ...end,
    });
  });

  it('is one run with one fleet for each node if its client is killed again and again', async () => {
    const before = new Set(at.aws.instances.all().map(({ id }) => id));
    let kills = 0;
    const end = await mortality();
    try {
      for (let last = 0; ; last += 5) {
        pipe.createRunContext();
        const client = new Mortal([pipe.workspace, pipe.memory], last);
        const launched = await client.run(() => pipe.launchFleet());
        if (launched === 'killed') {
          kills++;
          continue;
        }
        expect((await pipe.ended(launched.run)).run).toMatchObject({ outcome: 'succeeded' });
        break;
      }
      await allGone(at);
    } finally {
      await end();
    }
    expect(kills).toBeGreaterThan(5);
    const launched = at.aws.instances.all().filter(({ id }) => !before.has(id));
    expect(launched).toHaveLength(2);
    expect(new Set(launched.map(({ tags }) => tags['nx-ec2:run'])).size).toBe(1);
  });

  it('leaves nothing if one of its fleets can not be created', async () => {
    at.aws.faults.add({
      service: 'ec2',
      action: 'CreateFleet',
      error: { code: 'UnauthorizedOperation', status: 403 },
      times: 1,
    });
    await expect(pipe.launchFleet()).rejects.toMatchObject({ code: 'FLEET' });
    await allGone(at);
  });

  it('is cancelled by a client that comes later, also while a node lacks', async () => {
    pipe.write('model/train.py', training(9));
    for (const lacks of [false, true]) {
      const run = await launchAndDie();
      const { instance } = await trains(run, 0, 1);
      if (lacks) {
        at.aws.capacity.add({ market: 'spot' });
        at.aws.interrupt(instance, { noticeMs: 3_000 });
        await until(() => at.aws.instances.get(instance)!.state === 'terminated');
      }
      const found = await resolveRun(pipe.runs, run);
      const between = await cancelWithFleet(pipe.runs, found, false);
      if (lacks) expect(between).toMatchObject({ outcome: 'cancelled' });
      else expect((await cancelRun(pipe.runs, found.record, undefined)).run).toMatchObject({ outcome: 'cancelled' });
      await allGone(at);
      at.aws.capacity.clear();
      pipe.write('model/train.py', `${training(9)}\n# another training\n`);
    }
  });
});
