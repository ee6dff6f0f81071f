import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { GetObjectCommand } from '@aws-sdk/client-s3';
import { MOVE } from '../../run/start/move-nodes';
import { until } from '../../system/until.fixture';
import { startOtherNodes } from '../../run/start/start-nodes';
import { Workshop } from '../lib/executor-harness.fixture';

// Node resolves the name of the built file.
jest.mock('./start-on-launched-instance.js', () => jest.requireActual('./start-on-launched-instance'), {
  virtual: true,
});
jest.mock('../../run/start/start-nodes', () => {
  const actual = jest.requireActual<{ startOtherNodes: typeof startOtherNodes }>('../../run/start/start-nodes');
  return { startOtherNodes: jest.fn(actual.startOtherNodes) };
});

/**
 * Each node says hello to the first one over the network, writes a file of its own and one that all write; `ends` says
 * how it ends, by its rank: an exit code, or how many seconds it waits.
 */
const TRAINING = `
import json, os, signal, socket, sys, time
rank, count = int(os.environ["NODE_RANK"]), int(os.environ["NX_EC2_NUM_NODES"])
addresses = os.environ["NX_EC2_NODE_IPS"].split("\\n")
assert len(set(addresses)) == count, addresses
assert int(os.environ["NX_EC2_NODE_RANK"]) == rank == int(os.environ["SM_CURRENT_HOST_RANK"])
assert len(json.loads(os.environ["SM_HOSTS"])) == count
place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
assert place[0] == addresses[0]
saved = os.path.join(os.environ["NX_EC2_CHECKPOINT_DIR"], "step.txt")
begun = int(open(saved).read()) if os.path.exists(saved) else 0
print("node %d of %d at %s, attempt %s, from step %d" % (rank, count, addresses[rank], os.environ["NX_EC2_ATTEMPT"], begun), flush=True)
if rank == 0:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(place)
    server.listen()
    greeted = sorted(server.accept()[0].recv(9) for _ in range(count - 1))
    print("heard of", b" ".join(greeted).decode(), flush=True)
else:
    while True:
        try:
            client = socket.create_connection(place)
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    client.sendall(b"node %d" % rank)
ends = json.load(open("ends.json")).get("%d" % rank, 0)
os.makedirs("artifacts", exist_ok=True)
def save(*_):
    if rank == 0:
        with open(saved + ".part", "w") as file:
            file.write(str(begun + 1))
        os.rename(saved + ".part", saved)
    print("node %d saved" % rank, flush=True)
    sys.exit(0 if _ == () else 143)
signal.signal(signal.SIGTERM, save)
if isinstance(ends, str) and begun == 0:
    print("node %d waits" % rank, flush=True)
    time.sleep(float(ends))
if isinstance(ends, int) and ends:
    print("node %d fails" % rank, flush=True)
    sys.exit(ends)
for name, text in [("shard-%d" % rank, "of %d" % rank), ("same", "of all"), ("own", "of %d" % rank)]:
    with open("artifacts/" + name, "w") as file:
        file.write(text)
# A file on the first node is a directory on the others, and the other way round.
os.makedirs("artifacts/" + ("inner" if rank == 0 else "outer"), exist_ok=True)
for name in ["outer", "inner/x"] if rank == 0 else ["outer/%d" % rank, "inner"]:
    with open("artifacts/" + name, "w") as file:
        file.write("of %d" % rank)
`;

describe('A training on several nodes', () => {
  let shop: Workshop;
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/train.py', TRAINING);
  });
  afterAll(() => shop.close());

  const machine = (test: string, more: object = {}) => ({
    type: 'm5.large',
    instanceProfile: 'training',
    onFinish: { failure: 'terminate' },
    tags: { test },
    ...more,
  });
  const launched = (test: string) => shop.at.aws.instances.all().filter(({ tags }) => tags.test === test);
  const states = (test: string) => launched(test).map(({ state }) => state);
  const artifact = (name: string) => readFileSync(join(shop.workspace, 'model/artifacts', name), 'utf8');

  /** @param ends how each node ends, by its rank. */
  const train = (
    test: string,
    nodes: number | string,
    ends: object,
    more: { instance?: object; train?: object } = {},
  ) => {
    shop.write('model/ends.json', JSON.stringify({ test, ...ends }));
    return shop.run<{ run: string; attempts: number }>('remote-train', {
      instance: machine(test, more.instance),
      train: { script: 'train.py', nodes, environment: 'none', ...more.train },
    });
  };

  it('succeeds if it does on all, and brings the files of all', async () => {
    const { run } = await train('success', 3, {});
    expect(shop.printed).toMatch(/node 0 of 3 at 127\.\S+, attempt 1, from step 0\n/);
    expect(shop.printed).toContain('heard of node 1 node 2\n');
    expect(['shard-0', 'shard-1', 'shard-2'].map(artifact)).toEqual(['of 0', 'of 1', 'of 2']);
    expect([artifact('same'), artifact('own')]).toEqual(['of all', 'of 0']);
    expect([artifact('outer'), artifact('inner/x')]).toEqual(['of 0', 'of 0']);
    expect(shop.printed).toMatch(/6 files of nodes 1, 2 stay in the store, .* same path: .*--node=1/);
    expect(/same path: (.*?)\. To fetch/.exec(shop.printed)![1].split(', ').sort()).toEqual(
      ['inner', 'outer/1', 'outer/2', 'own'].map((name) => `artifacts/${name}`),
    );
    expect(states('success')).toEqual(['terminated', 'terminated', 'terminated']);
    for (const { id } of launched('success')) expect(shop.printed).toContain(`${id} is terminated.\n`);

    await shop.run('remote-logs', { run, node: 2, instance: machine('success') });
    expect(shop.printed).toMatch(/node 2 of 3 at 127/);
    expect(shop.printed).not.toContain('node 0 of 3');
    await shop.run('remote-logs', { run, node: 'all', instance: machine('success') });
    for (const rank of [0, 1, 2])
      expect(shop.printed).toMatch(new RegExp(`^\\[node ${rank}\\] node ${rank} of 3 at 127`, 'm'));
    await shop.run('remote-pull', { run, node: 1, output: '../pulled', instance: machine('success') });
    expect(readFileSync(join(shop.workspace, 'pulled/artifacts/own'), 'utf8')).toBe('of 1');
    expect(existsSync(join(shop.workspace, 'pulled/artifacts/shard-0'))).toBe(false);
    await shop.run('remote-status', { run, instance: machine('success') });
    expect(shop.printed).toMatch(/^2 +succeeded +i-\w+ +127/m);

    await train('success', 3, {});
    expect(shop.printed).toMatch(/has ended already/);
    expect(launched('success')).toHaveLength(3);
  });

  it('fails with the exit code of the node that failed first, and ends all of them', async () => {
    await expect(train('failure', 3, { 0: '60', 1: '60', 2: 5 })).rejects.toThrow(
      /failed after \S+ s: node 2 of 3 \(i-\w+\) failed first: it exited with 5\./,
    );
    expect(shop.printed).toMatch(
      /Of all nodes: +nx run model:remote-logs --bucket=bucket --instance\S* .*--run=\S+ --node=all\n/,
    );
    expect(states('failure')).toEqual(['terminated', 'terminated', 'terminated']);
  });

  it('trains again on all if the exit code of one is to be retried', async () => {
    const { attempts } = await train(
      'retry',
      2,
      { 1: 75 },
      { train: { retry: { exitCodes: [75], attempts: 2 }, resumeArgs: [] } },
    ).catch((error: Error) => {
      if (!/exited with 75/.test(error.message)) throw error;
      return { attempts: 2 };
    });
    expect(attempts).toBe(2);
    expect(shop.printed).toMatch(/node 0 of 2 at \S+, attempt 2/);
    expect(states('retry')).toEqual(['terminated', 'terminated']);
  });

  it('launches one instance in the place of one that was taken away, and resumes from the checkpoint', async () => {
    const training = train('spot', 3, { 0: '120', 1: '120', 2: '120' }, { instance: { spot: true } });
    await shop.says(/node 0 waits/);
    const before = launched('spot').map(({ id }) => id);
    const taken = launched('spot')[1];
    shop.at.aws.interrupt(taken.id);
    const { attempts } = await training;
    expect(attempts).toBe(2);
    expect(shop.printed).toMatch(/node 0 saved/);
    expect(shop.printed).toMatch(/node 0 of 3 at \S+, attempt 2, from step 1/);
    const after = launched('spot').map(({ id }) => id);
    expect(after.filter((id) => !before.includes(id))).toHaveLength(1);
    expect(new Set(states('spot'))).toEqual(new Set(['terminated']));
    expect(['shard-0', 'shard-1', 'shard-2'].map(artifact)).toEqual(['of 0', 'of 1', 'of 2']);
  });

  it('is resumed if an instance is terminated before the results of its node are saved', async () => {
    const { faults } = shop.at.aws;
    const refused = { times: 1_000_000, error: { code: 'SlowDown', status: 503 } };
    faults.add({ service: 's3', link: 'instance', path: '/node/1/artifacts.json', ...refused });
    const training = train('unsaved', 2, {}, { instance: { spot: true } });
    await shop.says(/heard of node 1/);
    // The record of node 0, which waits for node 1: that can't save.
    const [, run] = /Training (\S+) started/.exec(shop.printed)!;
    const Key = `v2/projects/model/run/${run}/record.json`;
    const read = async () => {
      const { Body } = await shop.at.s3.send(new GetObjectCommand({ Bucket: 'bucket', Key }));
      return (await Body!.transformToString()).replaceAll('\\', '');
    };
    await until(async () => /"state": ?"saving"/.test(await read()) && /"state": ?"saved"/.test(await read()));
    expect(shop.printed).not.toMatch(/The training succeeded/);
    const [, taken] = launched('unsaved');
    await shop.at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [taken.id] }));
    faults.clear();
    const { attempts } = await training;
    expect(attempts).toBe(2);
    expect(shop.printed).toMatch(/node 0 of 2 at \S+, attempt 2/);
    expect(['shard-0', 'shard-1'].map(artifact)).toEqual(['of 0', 'of 1']);
    expect(new Set(states('unsaved'))).toEqual(new Set(['terminated']));
  });

  describe('that finds no capacity beside the nodes that are left', () => {
    const before = { ...MOVE };
    beforeEach(() => void Object.assign(MOVE, { after: 1_500, retry: 500 }));
    afterEach(() => {
      Object.assign(MOVE, before);
      shop.at.aws.capacity.clear();
    });

    /** Two spot nodes in one zone, one of which is taken away, where no other is to be had. */
    const loseOne = async (test: string, subnet?: string) => {
      const training = train(test, 2, { 0: '120', 1: '120' }, { instance: { spot: true, subnet } });
      await shop.says(/node 0 waits/);
      const [kept, taken] = launched(test);
      const { zone } = kept;
      shop.at.aws.capacity.add({ zone, market: 'spot' });
      shop.at.aws.interrupt(taken.id);
      return { training, kept, taken, zone };
    };

    it('moves to another place with all nodes, and resumes there', async () => {
      const { training, kept, zone } = await loseOne('move');
      const { attempts } = await training;
      expect(attempts).toBe(2);
      expect(shop.printed).toMatch(new RegExp(`Terminating ${kept.id}: EC2 had no capacity beside them for`));
      expect(shop.printed).toMatch(/node 0 of 2 at \S+, attempt 2, from step 1/);
      const now = launched('move').slice(2);
      expect(now).toHaveLength(2);
      expect(new Set(now.map((each) => each.zone)).size).toBe(1);
      expect(now[0].zone).not.toBe(zone);
      expect(now.map(({ tags }) => tags['nx-ec2:deadline'])).toEqual([0, 1].map(() => kept.tags['nx-ec2:deadline']));
      expect(new Set(states('move'))).toEqual(new Set(['terminated']));
    });

    it('keeps those that are left if there is no other place', async () => {
      const subnet = 'subnet-0000000000000000a';
      const { training, kept } = await loseOne('stay', subnet);
      await expect(training).rejects.toThrow(/EC2 has no capacity for 1 of 2 instances, beside those that exist/);
      expect(kept.state).toBe('running');
      expect(shop.printed).toMatch(/Run the same command to resume it/);
      shop.at.aws.capacity.clear();
      const { attempts } = await train('stay', 2, { 0: '120', 1: '120' }, { instance: { spot: true, subnet } });
      expect(attempts).toBe(2);
      expect(launched('stay')).toHaveLength(3);
    });
  });

  it('replaces all nodes that got a spot notice, before it resumes', async () => {
    const ends = { 0: '120', 1: '120', 2: '120' };
    const training = train('notices', 3, ends, { instance: { spot: true } });
    await shop.says(/node 0 waits/);
    const before = launched('notices').map(({ id }) => id);
    for (const id of before.slice(1)) shop.at.aws.interrupt(id);
    const { attempts } = await training;
    expect(attempts).toBe(2);
    expect(shop.printed).toMatch(/AWS is about to take i-\w+ away as well: node [12] of \S+ gets another, too/);
    expect(launched('notices')).toHaveLength(5);
  });

  it('starts the nodes of a later attempt that a killed client had not started', async () => {
    const start = jest.mocked(startOtherNodes).mockClear();
    const ends = { 0: '120', 1: '120', 2: '120' };
    const training = train('later', 3, ends, { instance: { spot: true } });
    await shop.says(/node 0 waits/);
    // A client that does nothing any more, as one that was killed.
    let end = () => {};
    start.mockImplementationOnce(() => new Promise<void>((resolve) => (end = resolve)));
    shop.at.aws.interrupt(launched('later')[1].id);
    await until(() => start.mock.calls.length === 2);
    const { attempts } = await train('later', 3, ends, { instance: { spot: true } });
    expect(attempts).toBe(2);
    expect(start).toHaveBeenCalledTimes(3);
    expect(launched('later')).toHaveLength(4);
    end();
    await training;
  });

  it('runs on as many as there is capacity for, and continues at once on those that are left', async () => {
    const machines = { spot: true };
    shop.at.aws.capacity.add({ instances: 3, type: 'm5.large' });
    const training = train('elastic', '2:4', { 0: '120', 1: '120', 2: '120' }, { instance: machines });
    await shop.says(/node 0 waits/);
    expect(shop.printed).toMatch(/Launched 3 instances .* EC2 had capacity for 3 of 4\./);
    // The first one: another leads from then on.
    const [first] = launched('elastic');
    shop.at.aws.interrupt(first.id);
    const { run, attempts } = await training;
    shop.at.aws.capacity.clear();
    expect(attempts).toBe(2);
    expect(shop.printed).toMatch(/node 0 of 3 at \S+, attempt 1, from step 0/);
    expect(shop.printed).toMatch(/node 0 of 2 at \S+, attempt 2, from step 1\nheard of node 1\n/);
    expect(shop.printed).toMatch(/Attempt 2 of \S+ on i-\w+ and 1 more, /);
    expect(states('elastic')).toEqual(['terminated', 'terminated', 'terminated']);
    expect(['shard-0', 'shard-1'].map(artifact)).toEqual(['of 0', 'of 1']);

    const instance = machine('elastic', machines);
    await shop.run('remote-status', { run, instance });
    const named = [...shop.printed.matchAll(/^\d +succeeded +(i-\w+) +127/gm)].map(([, id]) => id);
    const left = launched('elastic').slice(1);
    expect(named.sort()).toEqual(left.map(({ id }) => id).sort());
    expect(shop.printed).toMatch(/\nnodes +2 of 2:4\n/);
    // A node that is gone keeps its record, its log and its files.
    await expect(shop.run('remote-logs', { run, node: 2, instance })).rejects.toThrow(/node 2 of 3 at 127/);
    await shop.run('remote-pull', { run, node: 2, output: '../gone', instance });
    expect(shop.printed).not.toContain('OPTION_INVALID');
  });

  it('stops all of them if it is cancelled', async () => {
    shop.write('model/ends.json', JSON.stringify({ test: 'cancel', 0: '60', 1: '60' }));
    const options = { instance: machine('cancel') };
    const train = { script: 'train.py', nodes: 2, environment: 'none' };
    const { run } = await shop.run<{ run: string }>('remote-submit', { ...options, train });
    const logs = shop.run('remote-logs', { ...options, run }).catch((error: Error) => error.message);
    await shop.says(/node 0 waits/);
    await expect(shop.run('remote-exec', { ...options, train, command: ['true'] })).resolves.toMatchObject({
      instance: launched('cancel')[0].id,
    });
    await shop.run('remote-cancel', { ...options, run });
    expect(await logs).toMatch(/RUN_CANCELLED/);
    await until(() => states('cancel').every((state) => state === 'terminated'));
    expect(states('cancel')).toHaveLength(2);
  });

  it('sends the files once, however many nodes there are', async () => {
    const sent = async (nodes: number) => {
      shop.write('model/data.bin', randomBytes(2_000_000));
      const before = shop.at.aws.traffic().client.up;
      await train('upload', nodes, {});
      return shop.at.aws.traffic().client.up - before;
    };
    const [two, four] = [await sent(2), await sent(4)];
    expect(two).toBeGreaterThan(2_000_000);
    expect(four - two).toBeLessThan(200_000);
  });

  it('trains once if two commands start it at once', async () => {
    const [one, other] = await Promise.all([train('twice', 2, {}), train('twice', 2, {})]);
    expect(one.run).toBe(other.run);
    expect(launched('twice')).toHaveLength(2);
  });

  it('does not wait for ever if two trainings reserve the same instances', async () => {
    const keep = { instance: { onFinish: { success: 'keep 1m' } }, train: { resources: { exclusive: true } } };
    await train('shared', 2, {}, keep);
    const before = launched('shared').length;
    const more = (lr: string) =>
      shop.run<{ run: string }>('remote-train', {
        instance: machine('shared', keep.instance),
        train: { script: 'train.py', nodes: 2, environment: 'none', args: [lr], ...keep.train },
      });
    const runs = await Promise.all(['1', '2', '3'].map(more));
    expect(new Set(runs.map(({ run }) => run)).size).toBe(3);
    expect(launched('shared')).toHaveLength(before);
  });
});
