import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Workshop } from '../lib/executor-harness.fixture';

// Node resolves the name of the built file.
jest.mock('./start-on-launched-instance.js', () => jest.requireActual('./start-on-launched-instance'), {
  virtual: true,
});

const TESTS = join(__dirname, '../../runtime/tests');

const DRIVER = `
import json, os, signal, sys, time
import ray
ray.init()
names = [name for node in ray.nodes() for name in node["Resources"] if name.startswith("nx_ec2_node")]
print("driver on node", os.environ["NX_EC2_NODE_RANK"], "has", *sorted(names), flush=True)
def save(*_):
    print("saved with", len(ray.nodes()), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
os.makedirs("artifacts", exist_ok=True)
with open("artifacts/model", "w") as file:
    file.write(sys.argv[1])
if sys.argv[1] == "wait":
    print("the driver waits", flush=True)
    time.sleep(600)
sys.exit(int(sys.argv[1]))
`;

/** With a stand-in for Ray. */
describe('A training on a Ray cluster', () => {
  let shop: Workshop;
  let ray: string;
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/tune.py', DRIVER);
    ray = join(shop.at.directory, 'ray-stand-in');
    execFileSync('python3', ['-B', '-c', 'import sys, ray_stand_in; ray_stand_in.write(sys.argv[1])', ray], {
      env: { ...process.env, PYTHONPATH: TESTS },
    });
  });
  afterAll(() => shop.close());

  const options = (test: string, nodes: number, argument: string, more: object = {}) => ({
    instance: {
      type: 'm5.large',
      instanceProfile: 'training',
      onFinish: { failure: 'terminate' },
      tags: { test },
    },
    train: {
      script: 'tune.py',
      args: [argument],
      launcher: 'ray',
      nodes,
      environment: 'none',
      env: { PYTHONPATH: ray },
      ...more,
    },
  });
  const states = (test: string) =>
    shop.at.aws.instances
      .all()
      .filter(({ tags }) => tags.test === test)
      .map(({ state }) => state);

  it('runs the script on the first node when all have joined', async () => {
    const { run } = await shop.run<{ run: string }>('remote-train', options('ray', 3, '0'));
    expect(shop.printed).toMatch(/Ray has 3 nodes at 127\.\S+:\d+\n/);
    expect(shop.printed).toContain('driver on node 0 has nx_ec2_node_0 nx_ec2_node_1 nx_ec2_node_2\n');
    expect(readFileSync(join(shop.workspace, 'model/artifacts/model'), 'utf8')).toBe('0');
    expect(states('ray')).toEqual(['terminated', 'terminated', 'terminated']);
    await shop.run('remote-logs', { ...options('ray', 3, '0'), run, node: 2 });
    expect(shop.printed).toMatch(/Ray has joined that of node 0 at 127/);
    expect(shop.printed).not.toContain('driver');
    await shop.run('remote-status', { ...options('ray', 3, '0'), run });
    expect(shop.printed).toMatch(/launcher +ray\n/);
  });

  it('fails with the exit code of the script, and keeps the logs of Ray', async () => {
    await expect(shop.run('remote-train', options('code', 2, '9'))).rejects.toThrow(/exited with 9/);
    expect(states('code')).toEqual(['terminated', 'terminated']);
    await shop.run('remote-pull', {
      ...options('code', 2, '9'),
      run: 'last',
      path: 'ray-logs/**',
      output: '../pulled',
    });
    const logs = join(shop.workspace, 'pulled/ray-logs/node-0/session_2026/raylet.out');
    expect(readFileSync(logs, 'utf8')).toContain('the raylet of node 0\n');
  });

  it('lets the script save if it is cancelled, with Ray on all nodes', async () => {
    const { run } = await shop.run<{ run: string }>('remote-submit', options('cancel', 2, 'wait'));
    const logs = shop
      .run('remote-logs', { ...options('cancel', 2, 'wait'), run })
      .catch((error: Error) => error.message);
    await shop.says(/the driver waits/);
    await shop.run('remote-cancel', { ...options('cancel', 2, 'wait'), run });
    expect(await logs).toMatch(/RUN_CANCELLED/);
    expect(shop.printed).toContain('saved with 2\n');
  });

  it('says that Ray is missing, and where to add it', async () => {
    await expect(shop.run('remote-train', options('missing', 1, '0', { env: {} }))).rejects.toThrow(
      /RAY_MISSING|needs the package ray/,
    );
  });
});
