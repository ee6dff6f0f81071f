import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RebootInstancesCommand, StartInstancesCommand, StopInstancesCommand } from '@aws-sdk/client-ec2';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { launchTagged } from '../../instance/stop/tagged.fixture';
import { until } from '../../system/until.fixture';
import { Workshop } from '../lib/executor-harness.fixture';

// Node resolves the name of the built file.
jest.mock('./start-on-existing-nodes.js', () => jest.requireActual('./start-on-existing-nodes'), { virtual: true });

/** Node 0 counts the attempts in a checkpoint if it is told to end; all wait in the first one if `wait.json` says so. */
const TRAINING = `
import json, os, signal, sys, time
rank, count = os.environ["NX_EC2_NODE_RANK"], os.environ["NX_EC2_NUM_NODES"]
saved = os.path.join(os.environ["NX_EC2_CHECKPOINT_DIR"], "step.txt")
begun = int(open(saved).read()) if os.path.exists(saved) else 0
print("node %s of %s, attempt %s, from step %d" % (rank, count, os.environ["NX_EC2_ATTEMPT"], begun), flush=True)
def save(*_):
    if rank == "0":
        with open(saved + ".part", "w") as file:
            file.write(str(begun + 1))
        os.rename(saved + ".part", saved)
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
if json.load(open("wait.json"))["wait"] and os.environ["NX_EC2_ATTEMPT"] == "1":
    print("node %s waits" % rank, flush=True)
    time.sleep(600)
os.makedirs("artifacts", exist_ok=True)
with open("artifacts/shard-" + rank, "w") as file:
    file.write(os.environ["NX_EC2_NODE_IPS"])
`;

const SAVES_AT_ONCE = TRAINING.replace(
  '    print("node %s waits"',
  '    if rank == "0":\n        open(saved, "w").write("1")\n    print("node %s waits"',
);

describe('A training on several instances that exist', () => {
  let shop: Workshop;
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/train.py', TRAINING);
  });
  afterAll(() => shop.close());

  /** Instances that nx-ec2 has not launched. */
  const cluster = async (name: string, count: number, more: object = {}) => {
    const ids = await Promise.all(Array.from({ length: count }, () => launchTagged(shop.at, { cluster: name }, more)));
    await until(() => ids.every((id) => shop.at.aws.instances.get(id)?.state === 'running'));
    return ids.sort();
  };
  const all = (name: string) => ({ tag: { cluster: name }, all: true, startupTimeout: '20s' });
  const request = (name: string, nodes: number, more: { wait?: boolean; instance?: string[]; train?: object } = {}) => {
    const { wait = false, instance = all(name) } = more;
    shop.write('model/wait.json', JSON.stringify({ wait, name }));
    return { instance, train: { script: 'train.py', environment: 'none', nodes, ...more.train } };
  };
  const train = (...how: Parameters<typeof request>) =>
    shop.run<{ run: string; attempts: number; instance: string }>('remote-train', request(...how));
  const running = (ids: string[]) => ids.map((id) => shop.at.aws.instances.get(id)!.state);

  it('runs on those with a tag, and leaves them as they are', async () => {
    const ids = await cluster('plain', 3);
    const { run, instance } = await train('plain', 3);
    expect(instance).toBe(ids[0]);
    const addresses = ids.map((id) => shop.at.aws.instances.get(id)!.privateIp).join('\n');
    for (const rank of [0, 1, 2])
      expect(readFileSync(join(shop.workspace, `model/artifacts/shard-${rank}`), 'utf8')).toBe(addresses);
    await shop.run('remote-logs', { run, node: 2, instance: all('plain') });
    expect(shop.printed).toContain('node 2 of 3');
    await shop.run('remote-status', { run, instance: all('plain') });
    expect(shop.printed).toContain(`${ids[1]}  127`);
    await train('plain', 3);
    expect(shop.printed).toMatch(/has ended already/);
    expect(running(ids)).toEqual(['running', 'running', 'running']);
  });

  it('ends as interrupted if one is stopped, and resumes when it runs again', async () => {
    const ids = await cluster('stopped', 2);
    const training = train('stopped', 2, { wait: true }).catch((error: Error) => error.message);
    await shop.says(/node 0 waits/);
    await shop.at.ec2.send(new StopInstancesCommand({ InstanceIds: [ids[1]] }));
    const message = await training;
    expect(message).toMatch(
      new RegExp(
        `was interrupted after .* on node 1 \\(${ids[1]}\\): it sent no more heartbeats \\(exited with 143\\)`,
      ),
    );
    expect(message).toMatch(/To resume it, run the same command again when enough of its instances run\./);
    await until(() => running(ids)[1] === 'stopped');
    await expect(train('stopped', 2, { wait: true })).rejects.toThrow(
      new RegExp(`needs 2 nodes, and 1 of the instances tagged cluster=stopped runs: .*${ids[1]} is stopped`),
    );
    await shop.at.ec2.send(new StartInstancesCommand({ InstanceIds: [ids[1]] }));
    await until(() => running(ids)[1] === 'running');
    const { attempts } = await train('stopped', 2, { wait: true });
    expect(attempts).toBe(2);
    expect(shop.printed).toMatch(/was interrupted on i-\w+; resuming it/);
    expect(shop.printed).toMatch(/node 0 of 2, attempt 2, from step 1/);
    expect(running(ids)).toEqual(['running', 'running']);
  });

  it.each([0, 1])('ends if the instance of node %d is rebooted, and resumes on both', async (rank) => {
    const name = `rebooted-${rank}`;
    const ids = await cluster(name, 2);
    shop.write('model/train.py', SAVES_AT_ONCE);
    const training = train(name, 2, { wait: true }).catch((error: Error) => error.message);
    await shop.says(/node 0 waits/);
    const [, run] = /Training (\S+) started/.exec(shop.printed)!;
    const Prefix = `v2/projects/model/run/${run}/checkpoint/`;
    const saved = () => shop.at.s3.send(new ListObjectsV2Command({ Bucket: 'bucket', Prefix }));
    await until(async () => (await saved()).KeyCount);
    await shop.at.ec2.send(new RebootInstancesCommand({ InstanceIds: [ids[rank]] }));
    expect(await training).toMatch(/RUN_LOST|RUN_INTERRUPTED/);
    const { attempts } = await train(name, 2, { wait: true });
    shop.write('model/train.py', TRAINING);
    expect(attempts).toBe(2);
    expect(shop.printed).toMatch(/node 0 of 2, attempt 2, from step [12]/);
    expect(running(ids)).toEqual(['running', 'running']);
  });

  it('resumes on another instance that matches', async () => {
    const ids = await cluster('spare', 3);
    const training = train('spare', 2, { wait: true }).catch((error: Error) => error.message);
    await shop.says(/node 0 waits/);
    await shop.at.ec2.send(new StopInstancesCommand({ InstanceIds: [ids[0]] }));
    expect(await training).toMatch(new RegExp(`RUN_LOST.*${ids[0]}`));
    await until(() => running(ids)[0] === 'stopped');
    const { attempts, instance } = await train('spare', 2, { wait: true });
    expect([attempts, instance]).toEqual([2, ids[1]]);
    expect(shop.printed).toMatch(/node 0 of 2, attempt 2/);
    await shop.run('remote-status', { run: 'last', instance: all('spare') });
    expect(shop.printed).toContain(`${ids[2]}  127`);
  });

  it('is started once by two commands, and trainings that share some instances reserve them in turn', async () => {
    const ids = await cluster('shared', 4);
    const [one, other] = await Promise.all([train('shared', 4), train('shared', 4)]);
    expect(one.run).toBe(other.run);
    const of = (n: number) => ({ args: [`${n}`], resources: { exclusive: true } });
    const runs = await Promise.all(
      [
        [0, 2, 3],
        [1, 2, 3],
        [3, 1, 0],
      ].map((places, n) => train('shared', 3, { instance: places.map((at) => ids[at]), train: of(n) })),
    );
    expect(new Set(runs.map(({ run }) => run)).size).toBe(3);
  });

  it('is what the other commands take the instances for', async () => {
    const ids = await cluster('commands', 2);
    const options = request('commands', 2);
    await shop.run('remote-sync', options);
    await expect(shop.run('remote-exec', { ...options, command: ['true'] })).resolves.toMatchObject({
      instance: ids[0],
    });
    await expect(shop.run('remote-down', options)).rejects.toThrow(/NOT_MANAGED/);
    expect(running(ids)).toEqual(['running', 'running']);
    await shop.run('remote-down', { ...options, stop: true });
    expect(running(ids)).toEqual(['stopped', 'stopped']);
    const up = await shop.run('remote-up', options);
    expect(up).toMatchObject({ instance: ids[0], instances: ids, how: 'started' });
    await expect(shop.run('remote-watch', options)).rejects.toThrow(/several instances, but remote-watch takes one/);
    const { checks } = await shop.run<{ checks: { name: string; detail: string }[] }>('remote-doctor', options);
    expect(checks).toContainEqual(expect.objectContaining({ name: 'nodes', ok: true, detail: ids.join(', ') }));
  });
});
